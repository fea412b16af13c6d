"""Packed attention on a GPU by the CUDA kernels of the extension, on tensor cores from Volta on.

They multiply float16, in heads of up to 128 numbers. The rest is the definition's, in PyTorch,
which does not wait for the device either. What runs, by `registry.PREFERENCE`:

| GPU              | float16                      | bfloat16, float32 | float64        |
|------------------|------------------------------|-------------------|----------------|
| sm_70, sm_75     | these kernels up to E = 128  | the definition    | the definition |
| sm_80 and newer  | Triton's                     | Triton's          | the definition |

On sm_80 and newer these kernels run where Triton is not installed, or `use("cuda")` asks for them,
and then bfloat16 and float32 are the definition's too. CUDA graphs capture all of it, and gradients
are the same bits in every run.
"""

from typing import Any

import torch
from torch import Tensor

from vlp_fast import native
from vlp_fast.reference import attention as reference

_WIDEST_HEAD = 128  # whose tiles still fit in Turing's 64 KiB of shared memory


def attention(q: Tensor, k: Tensor, v: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    """Output (Tq, N, E), and log-sum-exp of each row (N, Tq), +inf where it sees no key.

    The options are those of the schema, which the kernels take as they are.
    """
    if not _is_multiplied(q):
        return reference.attention(q, k, v, *options)
    out = q.new_empty(q.shape)
    lse = q.new_empty((q.shape[1], q.shape[0]), dtype=torch.float32)
    native.required().attention_cuda(*map(_dense_heads, (q, k, v)), *options, out, lse)
    return out, lse


def attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, *options: Any
) -> None:
    """Write the gradients of q, k and v, the last of the options; weights come again from `lse`."""
    if not _is_multiplied(q):
        reference.attention_backward(grad, q, k, v, out, lse, *options)
        return
    options, found = options[:-3], options[-3:]
    dense = [_dense_heads(x) for x in (grad, q, k, v, out)]
    targets = [_dense_heads(x) for x in found]
    native.required().attention_backward_cuda(
        *dense, lse, *options, *targets, torch.empty_like(lse)
    )
    for gradient, target in zip(found, targets, strict=True):
        if target is not gradient:
            gradient.copy_(target)


def _is_multiplied(q: Tensor) -> bool:
    return q.dtype == torch.float16 and 0 < q.shape[-1] <= _WIDEST_HEAD


def _dense_heads(x: Tensor) -> Tensor:
    """The tensor itself if the numbers of a head lie side by side."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()
