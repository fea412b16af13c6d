"""Ways to attend within the sequences of a batch, forward and backward.

Each maps q, k and v, packed (T, N, E) or padded (S, L, N, E), to the output and takes what it needs
to know of the batch when it is made, before the clock starts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from operator import call
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from vlp_fast import ops

from .case import Provider, compiled, relative
from .coco_mix import Problem, Side

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
Way = Callable[[Problem], Attend]
Run = Callable[[Attend, Sequence[Tensor], Tensor], list[Tensor]]
"""Of q, k, v and the gradient of the output."""


def by_ours(problem: Problem) -> Attend:
    """Packed rows, sequences begun longest first."""
    order = problem.keys.packing.longest_first
    return partial(ops.attention, **problem.layout, causal=problem.causal, order=order)


def by_sdpa(problem: Problem, backend: SDPBackend | None = None) -> Attend:
    """Padded rows and a mask, as DETR attends; flash kernels take none, and full rows need none."""
    is_full = not problem.causal and not problem.keys.is_padding.any()
    mask = None if is_full else visible(problem)[:, None]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        with nullcontext() if backend is None else sdpa_kernel(backend):
            out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out.transpose(1, 2)

    return attend


def visible(problem: Problem) -> Tensor:
    """(S, 1 or padded queries, padded keys) bool: which keys a query sees."""
    queries, keys = problem.queries, problem.keys
    seen = ~keys.is_padding[:, None]
    if not problem.causal:
        return seen
    ahead = torch.tensor(keys.lengths) - torch.tensor(queries.lengths)
    row = torch.arange(queries.padded_length, device=seen.device)[:, None]
    column = torch.arange(keys.padded_length, device=seen.device)
    return seen & (column <= row + ahead.to(seen.device)[:, None, None])


def by_varlen(problem: Problem) -> Attend:
    """PyTorch's FlashAttention of packed rows; half precision on a GPU only."""
    from torch.nn.attention.varlen import varlen_attn

    window, layout = (-1, 0 if problem.causal else -1), problem.layout.values()
    attend: Any = lambda q, k, v: varlen_attn(q, k, v, *layout, window_size=window)
    return attend  # type: ignore[no-any-return]


def by_packed_cudnn(problem: Problem) -> Attend:
    """cuDNN's attention of packed rows, as PyTorch's jagged tensors reach it, without these."""
    forward, layout = torch.ops.aten._cudnn_attention_forward, problem.layout.values()
    return lambda q, k, v: forward(q, k, v, None, *layout, compute_log_sumexp=True)[0]


def by_flash(function: Callable[..., Any], problem: Problem) -> Attend:
    """FlashAttention of packed rows; its versions differ in what they ask for and return."""
    known = inspect.signature(function).parameters
    options = {**problem.layout, "causal": problem.causal}
    asked = {name: value for name, value in options.items() if name in known}

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        found = function(q, k, v, **asked)
        out: Tensor = found[0] if isinstance(found, tuple) else found
        return out

    return attend


def by_flex(problem: Problem) -> Attend:
    """FlexAttention over all packed rows with a mask of blocks, made anew for the batch."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    sides = (problem.queries, problem.keys)
    owner_q, owner_k = (side.packing.sequence_of for side in sides)
    # Rows from one to the end of its sequence: the last query sees every key.
    until_end_q, until_end_k = (
        side.packing.cu_seqlens.long()[1:].index_select(0, owner)
        - torch.arange(len(owner), device=owner.device)
        for side, owner in zip(sides, (owner_q, owner_k), strict=True)
    )

    def sees(_b: Tensor, _h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return owner_q[i] == owner_k[j]

    def sees_before(_b: Tensor, _h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (owner_q[i] == owner_k[j]) & (until_end_k[j] >= until_end_q[i])

    mask_of, rows = sees_before if problem.causal else sees, (len(owner_q), len(owner_k))
    mask = create_block_mask(mask_of, None, None, *rows, device=owner_q.device)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        out: Tensor = compiled(flex_attention, dynamic=True)(q, k, v, block_mask=mask)
        return out[0].transpose(0, 1)

    return attend


@dataclass(frozen=True, eq=False)
class Drawn:
    """A problem with its numbers, all packed."""

    problem: Problem
    qkv: Sequence[Tensor]
    grad: Tensor
    """Of the output."""

    @cached_property
    def truth(self) -> list[Tensor]:
        """Output and the gradients of q, k and v in float64, sequence by sequence."""
        wide = [x.double().split(list(side.lengths)) for side, x in self._sides]
        dense = partial(_dense, causal=self.problem.causal)
        parts = [dense(*sequence) for sequence in zip(*wide, strict=True)]
        return [torch.cat(part) for part in zip(*parts, strict=True)]

    def error(self, found: Sequence[Tensor]) -> float:
        """The largest difference of the output or a gradient, relative to its largest value."""
        return largest_difference(found, self.truth[: len(found)])

    def pad(self) -> tuple[list[Tensor], Tensor]:
        """q, k and v, and the gradient, with padded rows."""
        *qkv, grad = (side.pad(x) for side, x in self._sides)
        return qkv, grad

    def unpad(self, found: Sequence[Tensor]) -> list[Tensor]:
        """Output and gradients of padded rows, packed."""
        queries, keys = self.problem.queries, self.problem.keys
        sides = (queries, queries, keys, keys)[: len(found)]
        return [side.unpad(x) for side, x in zip(sides, found, strict=True)]

    @property
    def _sides(self) -> list[tuple[Side, Tensor]]:
        queries, keys = self.problem.queries, self.problem.keys
        return list(zip((queries, keys, keys, queries), (*self.qkv, self.grad), strict=True))


def draw(
    problem: Problem, heads: tuple[int, int], dtype: torch.dtype, generator: torch.Generator
) -> Drawn:
    """Numbers of N(0, 1); heads are a number and a width."""
    num_q, num_k = sum(problem.queries.lengths), sum(problem.keys.lengths)
    shape = (2 * (num_q + num_k), *heads)
    drawn = torch.randn(shape, generator=generator, device=generator.device)
    *qkv, grad = drawn.to(dtype).split((num_q, num_k, num_k, num_q))
    return Drawn(problem, qkv, grad)


def packed(way: Way, run: Run | None = None) -> Provider:
    """A way that takes packed rows, forward and backward unless told otherwise."""
    return Provider(call, lambda d: partial(run or forward_backward, way(d.problem), d.qkv, d.grad))


def padded(way: Way, run: Run | None = None) -> Provider:
    """The same of padded rows; they are padded before the clock starts."""
    prepare = lambda drawn: partial(run or forward_backward, way(drawn.problem), *drawn.pad())
    return Provider(call, prepare, Drawn.unpad)


def forward(attend: Attend, qkv: Sequence[Tensor], _: Tensor) -> list[Tensor]:
    """The output alone."""
    return [attend(*qkv)]


def forward_backward(attend: Attend, qkv: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    """Output and the gradients of q, k and v."""
    leaves = [x.detach().requires_grad_() for x in qkv]
    out = attend(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def largest_difference(found: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Of any tensor, relative to its largest value."""
    return max(relative(x, y) for x, y in zip(found, truth, strict=True))


def _dense(q: Tensor, k: Tensor, v: Tensor, grad: Tensor, *, causal: bool) -> list[Tensor]:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = torch.einsum("lne,mne->nlm", q, k) * q.shape[-1] ** -0.5
        if causal:
            hidden = torch.ones_like(scores[0], dtype=torch.bool).triu(1 + len(k) - len(q))
            scores = scores.masked_fill(hidden, -torch.inf)
        return torch.einsum("nlm,mne->lne", scores.softmax(-1), v)

    return forward_backward(attend, (q, k, v), grad)
