"""Weights of ours under the names of the compositions: both sides start from the same numbers.

Names and shapes are the same but for E2E-VLP's projection of the CNN's map, a convolution of one
pixel there, and SOHO's query, key and value matrices, three there and one here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

PACKED = re.compile(r"(encoder\.layers\.\d+\.attention)\.in_proj_(weight|bias)")
PROJECTION = "input_projection.weight"


def copy_weights(ours: nn.Module, composed: nn.Module) -> None:
    """Copy every parameter and buffer; none is left over on either side.

    Raises:
        RuntimeError: if one is.
    """
    composed.load_state_dict(translated(ours.state_dict(), composed))


def translated(values: Mapping[str, Tensor], composed: nn.Module) -> dict[str, Tensor]:
    """Values by ours' names of state, or gradients of it, by the composition's names."""
    theirs, found = composed.state_dict(), dict[str, Tensor]()
    for name, value in values.items():
        packed = PACKED.fullmatch(name)
        if name == PROJECTION and value.dim() < theirs[name].dim():
            found[name] = value[:, :, None, None]
        elif packed and name not in theirs:
            parts = zip(("query", "key", "value"), value.chunk(3), strict=True)
            found |= {f"{packed[1]}.{part}.{packed[2]}": x for part, x in parts}
        else:
            found[name] = value
    return found
