"""A trained model with its heads, its words, and where it computes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from vlp_fast.data.printable import printable
from vlp_fast.data.tokenizer import Tokenizer, load_vocabulary
from vlp_fast.engine.config import TrainConfig
from vlp_fast.engine.precision import Precision, choose_precision
from vlp_fast.errors import InputError
from vlp_fast.inference.description import Description, read_description
from vlp_fast.models.model import VisionLanguageModel
from vlp_fast.tasks.downstream.classifiers import build_classifier
from vlp_fast.tasks.downstream.config import SampleTaskConfig
from vlp_fast.tasks.task import Learner
from vlp_fast.weights.own import weights_in

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A model that is asked, in eval mode.

    Attributes:
        about: what there is to know of it.
        model: on the device.
        classifier: the head of a task over samples, on the device; None of other tasks.
        tokenizer: its words.
        runtime: where it computes, and in which format.
    """

    about: Description
    model: VisionLanguageModel
    classifier: nn.Module | None
    tokenizer: Tokenizer
    runtime: Precision

    @property
    def codes(self) -> bool:
        """SOHO: whether the encoder has learnt to read codes, not the features in front of them."""
        return getattr(self.about.task, "codes", True)


def load_trained(folder: Path, device: str = "auto", precision: str = "auto") -> Trained:
    """The model of a run's newest checkpoint, or of a folder that was exported.

    Args:
        folder: of either.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        precision: "fp32", "bf16" or "fp16"; "auto" for fp32 on a CPU, bf16 or fp16 on a GPU.

    Raises:
        InputError: if there is no such model, or its files do not fit one another.
    """
    about = read_description(folder)
    tokenizer = load_vocabulary(folder / "vocab.txt")
    if tokenizer.vocab_size != about.model.vocab_size:
        raise InputError(
            f"{printable(folder / 'vocab.txt')}: has {tokenizer.vocab_size:,} words, and the model "
            f"knows {about.model.vocab_size:,}; put the run's own back"
        )
    learner = Learner(about.model.build(), _classifier(about))
    _load(learner, weights_in(folder))
    learner.model.canvas_multiple = about.data.canvas_multiple
    learner.model.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    runtime = _runtime(device, precision)
    learner.eval().requires_grad_(False).to(runtime.device)
    return Trained(
        about=about,
        model=learner.model,
        classifier=learner.heads,
        tokenizer=tokenizer,
        runtime=runtime,
    )


def _classifier(about: Description) -> nn.Module | None:
    task = about.task
    if not isinstance(task, SampleTaskConfig):
        return None
    width, classes = about.model.width, len(task.classes(about.answers))
    return build_classifier(task.head, width, classes, pictures=task.pictures)


def _load(learner: Learner, path: Path) -> None:
    try:
        learner.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[:2][-1].strip()
        raise InputError(
            f"{printable(path)}: does not hold the model that its folder describes "
            f"({printable(reason[:160])}); put a copy back, or export it again"
        ) from None


def _runtime(device: str, precision: str) -> Precision:
    for name, value, known in (("device", device, DEVICES), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise ValueError(f"load: received {name} = {value!r}, expected one of {known}")
    chosen = choose_precision(TrainConfig(device=device, precision=precision))  # type: ignore[arg-type]
    if precision == "auto" and chosen.device.type == "cpu":
        return Precision(device=chosen.device, dtype=torch.float32)
    return chosen
