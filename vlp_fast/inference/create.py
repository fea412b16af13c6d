"""A named model, with random weights, from a file, or trained ones that come with the package."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vlp_fast.errors import InputError
from vlp_fast.models.config import model_config

if TYPE_CHECKING:
    from vlp_fast.models.model import VisionLanguageModel


def create_model(name: str, pretrained: str | Path | bool | None = None) -> VisionLanguageModel:
    """Builds a named model.

    >>> model = vlp_fast.create_model("e2e_vlp_r50_6", pretrained="detr-r50-e632da11.pth")
    >>> model = vlp_fast.create_model("soho_small_world", pretrained=True)

    Args:
        name: one of `vlp_fast.models.model_names()`, or of `shipped.shipped_names()`.
        pretrained: path of weights, ours or others': whatever `weights.load.load_weights` takes.
            A warning says what stays random where they are not the whole model's. True for those
            that come with the package. None or False for random weights.

    Raises:
        ValueError: for an unknown name (close matches are listed), or a file that is missing,
            unreadable or of another model.
    """
    try:
        return _trained(name) if pretrained is True else _built(name, pretrained)
    except InputError as error:
        raise ValueError(f"create_model: {error}") from None


def _trained(name: str) -> VisionLanguageModel:
    from vlp_fast.inference.shipped import shipped_model
    from vlp_fast.inference.trained import load_trained

    trained = load_trained(shipped_model(name), device="cpu")
    model = trained.about.model.build()  # as any new one: what is frozen is, and it is to train
    model.load_state_dict(trained.model.state_dict())
    return model


def _built(name: str, pretrained: str | Path | Literal[False] | None) -> VisionLanguageModel:
    model = model_config(name).build()
    if pretrained is None or pretrained is False:
        return model
    from vlp_fast.weights.load import load_weights

    loaded = load_weights(model, pretrained)
    if loaded.new:
        warnings.warn(f"create_model: {loaded}", stacklevel=3)
    return model
