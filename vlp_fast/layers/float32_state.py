"""A module whose buffers stay float32 when the model around it changes its dtype."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Float32State(nn.Module):
    """`.half()`, `.bfloat16()` and `.double()` move nothing here; devices change as ever.

    Moving averages need the precision, and what updates them is made for it.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def keeping_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keeping_dtype, recurse)  # type: ignore[no-untyped-call]
