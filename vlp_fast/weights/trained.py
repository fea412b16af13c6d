"""A run's trained model without its data: for whoever brings pictures and texts of their own."""

from __future__ import annotations

from pathlib import Path

import torch

from vlp_fast.data.tokenizer import Tokenizer, load_vocabulary
from vlp_fast.errors import InputError
from vlp_fast.models.config import ModelConfig
from vlp_fast.models.model import VisionLanguageModel
from vlp_fast.weights.load import load_weights


def trained_model(config: ModelConfig, folder: Path) -> tuple[VisionLanguageModel, Tokenizer]:
    """The model of a run folder's newest checkpoint, on the CPU and in eval mode, and its words.

    Args:
        config: of the model, as the folder's run.json has it, with the sizes of its data.
        folder: the run folder.

    Raises:
        InputError: if the folder has no complete checkpoint or no vocabulary, or these do not fit.
    """
    tokenizer = load_vocabulary(folder / "vocab.txt")
    model = config.build()
    loaded = load_weights(model, folder, vocabulary=tokenizer.vocabulary, option="RUN_DIR")
    if loaded.new:
        raise InputError(f"{folder}: its checkpoint is not the whole model's ({loaded})")
    model.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval(), tokenizer
