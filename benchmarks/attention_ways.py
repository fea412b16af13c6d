"""Ways to attend within the sequences of a batch, forward and backward.

Each maps q, k and v, packed (T, N, E) or padded (S, L, N, E), to the output and takes what it needs
to know of the batch when it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast import ops

from .coco_mix import Mix

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def by_ours(mix: Mix) -> Attend:
    """Packed rows, sequences begun longest first."""
    packing = mix.packing
    return partial(
        ops.attention,
        cu_seqlens_q=packing.cu_seqlens,
        cu_seqlens_k=packing.cu_seqlens,
        max_seqlen_q=packing.max_length,
        max_seqlen_k=packing.max_length,
        order=packing.longest_first,
    )


def by_masked_sdpa(mix: Mix) -> Attend:
    """Padded rows and a mask of keys, as DETR attends; flash kernels take no mask."""
    mask = ~mix.is_padding[:, None, None, :]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out.transpose(1, 2)

    return attend


def by_varlen(mix: Mix) -> Attend:
    """PyTorch's FlashAttention of packed rows; half precision on a GPU only."""
    from torch.nn.attention.varlen import varlen_attn

    packing = mix.packing
    longest = packing.max_length

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        bounds = packing.cu_seqlens
        out = varlen_attn(q, k, v, bounds, bounds, longest, longest)
        assert isinstance(out, Tensor)  # a pair only where the log-sum-exp is asked for
        return out

    return attend


def by_flex(mix: Mix) -> Attend:
    """FlexAttention over all packed rows with a mask of blocks, made anew for the batch."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    rows, owner = mix.packing.num_rows, mix.packing.sequence_of
    mask = create_block_mask(
        lambda b, h, i, j: owner[i] == owner[j], None, None, rows, rows, device=str(owner.device)
    )
    compiled = torch.compile(flex_attention, dynamic=True)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        out = compiled(q, k, v, block_mask=mask)
        assert isinstance(out, Tensor)
        return out[0].transpose(0, 1)

    return attend


def forward_backward(attend: Attend, qkv: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    """Output and the gradients of q, k and v."""
    leaves = [x.detach().requires_grad_() for x in qkv]
    out = attend(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def exactly(qkv: Sequence[Tensor], grad: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    """The same of packed rows in float64, sequence by sequence."""
    wide = [x.double().split(list(lengths)) for x in (*qkv, grad)]
    parts = [_dense(*sequence) for sequence in zip(*wide, strict=True)]
    return [torch.cat(part) for part in zip(*parts, strict=True)]


def _dense(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> list[Tensor]:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = torch.einsum("lne,mne->nlm", q, k) * q.shape[-1] ** -0.5
        return torch.einsum("nlm,mne->lne", scores.softmax(-1), v)

    return forward_backward(attend, (q, k, v), grad)


def largest_difference(found: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Of any tensor, relative to its largest value."""
    return max(
        float((x - y).abs().max() / y.abs().max().clamp(min=1e-12))
        for x, y in zip(found, truth, strict=True)
    )
