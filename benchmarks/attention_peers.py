"""Who is compared with attention: PyTorch's kernels and packages of others, where they run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

from torch import Tensor
from torch.nn.attention import SDPBackend

from . import attention_ways as ways
from .attention_ways import Attend
from .case import Provider, Setting
from .peers import FLASH_ATTENTION_3, FLASH_ATTENTION_4, XFORMERS, Peer
from .ragged import Problem

NEEDS_GPU = "left out on a CPU, where it does not run"
NO_END = "left out: its causal mask begins with the first key instead of ending with the last"
PADDED, CUDNN = "SDPA, padded and masked", "cuDNN, packed"
PACKED: dict[str, Callable[[Problem], Attend]] = {
    "varlen_attn": ways.by_varlen,
    CUDNN: ways.by_packed_cudnn,
    "FlexAttention": ways.by_flex,
}
"""PyTorch's, of packed rows."""

Found = dict[str, Provider | str]
"""A way to solve a problem, or why it is left out."""


def peers(setting: Setting, problem: Problem, qkv: Sequence[Tensor], grad: Tensor) -> Found:
    """Of the output and the gradients of q, k and v, all packed (T, N, E)."""
    found: Found = {PADDED: padded(ways.by_masked_sdpa(problem), problem, qkv, grad)}
    cudnn = f"{PADDED}, cuDNN"
    if setting.device != "cuda":
        return {**found, **dict.fromkeys((cudnn, *PACKED), NEEDS_GPU)}
    by_cudnn = ways.by_masked_sdpa(problem, SDPBackend.CUDNN_ATTENTION)
    found[cudnn] = padded(by_cudnn, problem, qkv, grad)
    for name, way in (PACKED | packages()).items():
        if isinstance(way, str) or (name == CUDNN and problem.causal):
            found[name] = way if isinstance(way, str) else NO_END
        else:
            run = partial(ways.forward_backward, way(problem), qkv, grad)
            found[name] = Provider(run=run)
    return found


def padded(attend: Attend, problem: Problem, qkv: Sequence[Tensor], grad: Tensor) -> Provider:
    """A way that takes padded rows; they are padded before the clock starts."""
    queries, keys = problem.queries, problem.keys
    q, k, v = qkv
    inputs = [queries.pad(q), keys.pad(k), keys.pad(v)]
    sides = (queries, queries, keys, keys)
    return Provider(
        run=partial(ways.forward_backward, attend, inputs, queries.pad(grad)),
        read=lambda found: [side.unpad(x) for side, x in zip(sides, found, strict=True)],
    )


def packages() -> dict[str, Callable[[Problem], Attend] | str]:
    """Packages of others by name, or why they are left out."""
    return {
        name: peer.absence if (function := peer.load()) is None else partial(way, function)
        for name, (peer, way) in PACKAGES.items()
    }


def by_flash(function: Callable[..., Any], problem: Problem) -> Attend:
    """FlashAttention of packed rows; its versions differ in what they ask for and return."""
    queries, keys = problem.queries, problem.keys
    options = {
        "cu_seqlens_q": queries.bounds,
        "cu_seqlens_k": keys.bounds,
        "max_seqlen_q": queries.longest,
        "max_seqlen_k": keys.longest,
        "causal": problem.causal,
    }
    known = inspect.signature(function).parameters
    options = {name: value for name, value in options.items() if name in known}

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        found = function(q, k, v, **options)
        out: Tensor = found[0] if isinstance(found, tuple) else found
        return out

    return attend


def by_xformers(function: Callable[..., Any], problem: Problem) -> Attend:
    """Packed rows as one sequence, with a mask of blocks on its diagonal."""
    masks = import_module("xformers.ops.fmha.attn_bias").BlockDiagonalMask
    queries, keys = problem.queries, problem.keys
    mask = masks.from_seqlens(list(queries.lengths), list(keys.lengths), device=queries.device)
    mask = mask.make_causal_from_bottomright() if problem.causal else mask

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Tensor = function(q[None], k[None], v[None], attn_bias=mask)[0]
        return out

    return attend


PACKAGES: dict[str, tuple[Peer, Callable[..., Attend]]] = {
    "FlashAttention-3": (FLASH_ATTENTION_3, by_flash),
    "FlashAttention-4": (FLASH_ATTENTION_4, by_flash),
    "xformers": (XFORMERS, by_xformers),
}
