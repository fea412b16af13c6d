"""Weights of the published SOHO code: their names, and loading them into `Soho`.

The modules of the published code (ResNet-18, 3 layers) make a tree of 196 tensors; that its
checkpoint holds the same is inferred, for none was at hand. A model built from
`config.official(...)` has these tensors, with names of its own; the rules below translate them.
One tensor is there twice in the published tree: `mask_l_fc.weight` is the word embeddings again.

Reading a checkpoint file is the caller's: unwrap its "state_dict" entry, load with
`weights_only=True`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vlp_fast.models.soho import Soho

_LAYER = "language.bert.encoder.layer"
_RULES: tuple[tuple[str, str], ...] = (
    (r"backbone\.", "backbone."),
    (r"projection\.", "neck.conv.conv."),
    (r"projection_norm\.", "neck.conv.bn."),
    (r"norm\.", "neck.ln."),
    (r"mask_embedding$", "neck.mask_emb.weight"),
    (r"dictionary\.", "neck.vq."),
    (r"gate\.conv\.", "neck.gate_fc.conv."),
    (r"gate\.norm\.", "neck.gate_fc.bn."),
    (r"code_projection\.", "neck.pos_line."),
    (r"text_embeddings\.norm\.", "language.bert.embeddings.LayerNorm."),
    (r"text_embeddings\.", "language.bert.embeddings."),
    (r"encoder\.layers\.(\d+)\.attention\.out_proj\.", rf"{_LAYER}.\1.attention.output.dense."),
    (r"encoder\.layers\.(\d+)\.attention\.", rf"{_LAYER}.\1.attention.self."),
    (r"encoder\.layers\.(\d+)\.norm1\.", rf"{_LAYER}.\1.attention.output.LayerNorm."),
    (r"encoder\.layers\.(\d+)\.ffn\.linear1\.", rf"{_LAYER}.\1.intermediate.dense."),
    (r"encoder\.layers\.(\d+)\.ffn\.linear2\.", rf"{_LAYER}.\1.output.dense."),
    (r"encoder\.layers\.(\d+)\.norm2\.", rf"{_LAYER}.\1.output.LayerNorm."),
    (r"match_head\.", "head.match_class."),
)
_WORDS = "text_embeddings.word_embeddings.weight"
_TIED_WORDS = "mask_l_fc.weight"


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What did not fit when published weights were loaded.

    Attributes:
        missing: published names of tensors of the model that the weights lack; they stay as they
            were.
        unexpected: names among the weights that the model has no place for; they were left out.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def official_name(name: str) -> str:
    """Translates the name of one of `Soho`'s tensors into the published code's.

    Raises:
        ValueError: for a tensor that the published code does not have.
    """
    for pattern, replacement in _RULES:
        match = re.match(pattern, name)
        if match:
            return match.expand(replacement) + name[match.end() :]
    raise ValueError(
        f"official_name: received {name!r}, which the published code does not have; build the "
        "model from config.official(...)"
    )


def official_state_dict(model: Soho) -> dict[str, Tensor]:
    """Returns the model's state under the published names, sharing memory with the model.

    Raises:
        ValueError: if the model has tensors that the published code does not have.
    """
    own = (part for name, x in model.state_dict().items() for part in _split_projection(name, x))
    state = {official_name(name): tensor for name, tensor in own}
    state[_TIED_WORDS] = model.state_dict()[_WORDS]
    return state


def load_official_state_dict(model: Soho, state: Mapping[str, Tensor]) -> LoadReport:
    """Copies published weights into a model.

    Args:
        model: built from `config.official(...)`.
        state: tensors under the published names, with or without the prefix "module.".

    Returns:
        The names that did not fit on either side.

    Raises:
        ValueError: if the shapes of a tensor differ; nothing has been copied then.
    """
    given = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    own = official_state_dict(model)
    for name in own.keys() & given.keys():
        if own[name].shape != given[name].shape:
            raise ValueError(
                f"load_official_state_dict: received {name} of shape {tuple(given[name].shape)}, "
                f"expected {tuple(own[name].shape)}; build the model with the checkpoint's sizes"
            )
    # The tied copy only matters where the embeddings themselves are missing.
    names = sorted(own.keys() & given.keys(), key=lambda name: name != _TIED_WORDS)
    with torch.no_grad():
        for name in names:
            own[name].copy_(given[name])
    return LoadReport(
        missing=tuple(sorted(own.keys() - given.keys())),
        unexpected=tuple(sorted(given.keys() - own.keys())),
    )


def _split_projection(name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """Takes queries, keys and values apart: the published code projects them one by one."""
    stem, is_projection, kind = name.partition("in_proj_")
    if not is_projection:
        return [(name, tensor)]
    parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
    return [(f"{stem}{part}.{kind}", values) for part, values in parts]
