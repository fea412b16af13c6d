"""The two models, by name or by configuration; importing this package does not import torch.

backbone.py       the CNN from its configuration
config.py         configurations, presets, paper() and official()
e2e_vlp.py        E2E-VLP
label_masking.py  which visual tokens are hidden
model.py          what both are: see, read
soho.py           SOHO
soho_official.py  names of the published weights, loading them
"""

from pathlib import Path
from typing import TYPE_CHECKING

from vlp_fast.models.config import E2EVLPConfig, ModelConfig, SohoConfig, model_config, model_names

if TYPE_CHECKING:
    from vlp_fast.models.model import VisionLanguageModel

__all__ = [
    "E2EVLPConfig",
    "ModelConfig",
    "SohoConfig",
    "create_model",
    "model_names",
]


def create_model(name: str, pretrained: str | Path | None = None) -> "VisionLanguageModel":
    """Builds a named model.

    >>> model = vlp_fast.create_model("e2e_vlp_r50_6")

    Args:
        name: one of `model_names()`.
        pretrained: path of a local safetensors file with this very model's weights; random
            weights if None.

    Raises:
        ValueError: for an unknown name (close matches are listed), or a file that is missing or
            does not hold this model's weights.
    """
    config = model_config(name)
    if pretrained is not None and not Path(pretrained).is_file():
        raise ValueError(
            f"create_model: received pretrained={str(pretrained)!r}, expected an existing "
            "safetensors file; give the path of one, or None for random weights"
        )
    model = config.build()
    if pretrained is not None:
        _load(model, Path(pretrained))
    return model


def _load(model: "VisionLanguageModel", path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(
            f"create_model: {path} does not hold this model's weights: {error}"
        ) from error
