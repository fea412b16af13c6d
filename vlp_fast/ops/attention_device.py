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

import torch
from torch import Tensor

from vlp_fast import native
from vlp_fast.reference import attention as reference

_WIDEST_HEAD = 128  # whose tiles still fit in Turing's 64 KiB of shared memory


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    order: Tensor | None,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool,
    scale: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Output (Tq, N, E), and log-sum-exp of each row (N, Tq), +inf where it sees no key."""
    bounds = (cu_seqlens_q, cu_seqlens_k, order)
    options = (*bounds, max_seqlen_q, max_seqlen_k, causal, scale, dropout_p, seed)
    if not _is_multiplied(q):
        return reference.attention(q, k, v, *options)
    out = q.new_empty(q.shape)
    lse = q.new_empty((q.shape[1], q.shape[0]), dtype=torch.float32)
    native.required().attention_cuda(*map(_dense_heads, (q, k, v)), *options, out, lse)
    return out, lse


def attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    order: Tensor | None,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool,
    scale: float,
    dropout_p: float,
    seed: Tensor | None,
    grad_q: Tensor,
    grad_k: Tensor,
    grad_v: Tensor,
) -> None:
    """Write the gradients of q, k and v; the weights are computed again from `lse`."""
    bounds = (cu_seqlens_q, cu_seqlens_k, order)
    options = (*bounds, max_seqlen_q, max_seqlen_k, causal, scale, dropout_p, seed)
    found = (grad_q, grad_k, grad_v)
    if not _is_multiplied(q):
        inputs = (grad, q, k, v, out, lse, *options, *found)
        reference.attention_backward(*inputs)
        return
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
