"""A named model, with random weights or from a file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from vlp_fast.errors import InputError
from vlp_fast.models.config import model_config

if TYPE_CHECKING:
    from vlp_fast.models.model import VisionLanguageModel


def create_model(name: str, pretrained: str | Path | None = None) -> VisionLanguageModel:
    """Builds a named model.

    >>> model = vlp_fast.create_model("e2e_vlp_r50_6", pretrained="detr-r50-e632da11.pth")

    Args:
        name: one of `vlp_fast.models.model_names()`.
        pretrained: path of weights, ours or others': whatever `weights.load.load_weights` takes.
            A warning says what stays random where they are not the whole model's. None for random
            weights.

    Raises:
        ValueError: for an unknown name (close matches are listed), or a file that is missing,
            unreadable or of another model.
    """
    model = model_config(name).build()
    if pretrained is None:
        return model
    from vlp_fast.weights.load import load_weights

    try:
        loaded = load_weights(model, pretrained)
    except InputError as error:
        raise ValueError(f"create_model: {error}") from None
    if loaded.new:
        warnings.warn(f"create_model: {loaded}", stacklevel=2)
    return model
