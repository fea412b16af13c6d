"""A named model, with random weights, from a file, or trained ones of the package or of the hub."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vlp_fast.errors import InputError
from vlp_fast.inference.hub import fetch, is_on_hub
from vlp_fast.models.config import model_config

if TYPE_CHECKING:
    from vlp_fast.models.config import ModelConfig
    from vlp_fast.models.model import VisionLanguageModel


def create_model(
    name: str,
    pretrained: str | Path | bool | None = None,
    *,
    revision: str | None = None,
) -> VisionLanguageModel:
    """Builds a named model.

    >>> model = vlp_fast.create_model("e2e_vlp_r50_6", pretrained="detr-r50-e632da11.pth")
    >>> model = vlp_fast.create_model("soho_small_world", pretrained=True)
    >>> model = vlp_fast.create_model("hf://organisation/model", pretrained=True, revision="v1")

    Args:
        name: one of `vlp_fast.models.model_names()`, or of `shipped.shipped_names()`; or
            "hf://organisation/model", with "@revision" if need be, of what `vlp-fast export`
            uploaded.
        pretrained: path of weights, ours or others': whatever `weights.load.load_weights` takes,
            or "hf://organisation/model". A warning says what stays random where they are not the
            whole model's. True for those that come with the package or lie in the repository that
            is named. None or False for random weights.
        revision: branch, tag or commit of the repository; its main branch if not given.

    Raises:
        ValueError: for an unknown name (close matches are listed), a revision of what is not on the
            hub, or a file that is missing, unreadable or of another model.
    """
    try:
        folder = _fetched(name, pretrained, revision)
        if pretrained is True:
            return _trained(name, folder)
        config = _config_of(folder) if folder and is_on_hub(name) else model_config(name)
        is_from_hub = isinstance(pretrained, str) and is_on_hub(pretrained)
        return _built(config, folder if is_from_hub else pretrained)
    except InputError as error:
        raise ValueError(f"create_model: {error}") from None


def _fetched(name: str, pretrained: str | Path | bool | None, revision: str | None) -> Path | None:
    """The folder of the one repository that is named, if one is."""
    named = [text for text in (name, pretrained) if isinstance(text, str) and is_on_hub(text)]
    if len(named) > 1:
        raise InputError(
            "name and pretrained are two repositories; pretrained=True takes the first"
        )
    if revision is not None and not named:
        raise InputError(f"received revision {revision!r}, which only hf://organisation/model has")
    return fetch(named[0], revision) if named else None


def _trained(name: str, folder: Path | None) -> VisionLanguageModel:
    from vlp_fast.inference.shipped import shipped_model
    from vlp_fast.inference.trained import load_trained

    trained = load_trained(folder or shipped_model(name), device="cpu", precision="fp32")
    model = trained.about.model.build()  # as any new one: what is frozen is, and it is to train
    model.load_state_dict(trained.model.state_dict())
    return model


def _config_of(folder: Path) -> ModelConfig:
    """Of a stranger's folder, held against its weights before anything is built."""
    from vlp_fast.inference.description import read_description
    from vlp_fast.inference.trained import check_fits
    from vlp_fast.weights.checkpoints import MODEL

    about = read_description(folder)
    check_fits(about, folder / MODEL)
    return about.model


def _built(
    config: ModelConfig, pretrained: str | Path | Literal[False] | None
) -> VisionLanguageModel:
    model = config.build()
    if pretrained is None or pretrained is False:
        return model
    from vlp_fast.weights.load import load_weights

    loaded = load_weights(model, pretrained)
    if loaded.new:
        warnings.warn(f"create_model: {loaded}", stacklevel=3)
    return model
