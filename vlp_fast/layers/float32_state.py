"""A module whose buffers stay float32 when the model around it changes its dtype."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Float32State(nn.Module):
    """`.half()`, `.bfloat16()` and `.double()` move nothing here; devices change as ever.

    Moving averages need the precision, and what updates them is made for it. So a state of another
    dtype that is assigned, not copied (`load_state_dict(..., assign=True)`), becomes float32 too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            Float32State._make_float32
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def keeping_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keeping_dtype, recurse)  # type: ignore[no-untyped-call]

    def _make_float32(self, _: object) -> None:
        for name, value in self.named_buffers(recurse=False):
            if value.is_floating_point():
                setattr(self, name, value.to(torch.float32).contiguous())
