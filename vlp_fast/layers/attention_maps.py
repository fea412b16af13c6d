"""Maps of attention: how much every row looks at every other, in layers whose operators keep none.

The operators are fused and give no weights. So, while a block of `attention_maps` is open, each
call of the operator is looked at on its way, and

    weights = softmax(q k^T scale)

is computed once more, in float32, from the very queries, keys, bounds of sequences and causal mask
that the operator gets. It then does its work as ever. Outside of such a block nothing is different,
in cost or result; inside of it results are the same bits, for weights and memory of S N Lq Lk
numbers a layer. Weights are those in front of dropout, of which there is none in eval mode.

What is computed by other means has no map: the last layer of `read_first`, `read_all_pairs`, steps
of decoding (read a written text again with `caption_logits`), and what a CUDA graph replays.

Shape suffixes: S sequences, N heads, E head width, Lq and Lk rows of the longest sequence.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vlp_fast.layers.attention import CrossAttention
from vlp_fast.layers.projections import MultiHeadProjections
from vlp_fast.ops import attention as _attention  # noqa: F401  (registers the operator)
from vlp_fast.ops.operands import no_autocast

Maps = dict[str, list[Tensor]]
"""Of each attention layer by its name in the module, the weights of each of its calls."""


@contextmanager
def attention_maps(module: nn.Module) -> Iterator[Maps]:
    """Gathers the weights of every attention layer of a module that runs inside of the block.

    >>> with vlp_fast.attention_maps(model.encoder) as maps:
    ...     memory = model.read(text_ids, seen, grid, packing)
    >>> maps["layers.0.attention"][0]  # (S, N, L, L)

    A map is (S, N, Lq, Lk) float32 (float64 of a layer in float64), without a gradient, on the
    layer's device. Rows are the queries and columns the keys of a sequence, in its order, where
    there are such; a row adds up to 1. Exactly 0 are columns that are masked or behind the end of a
    sequence, and whole rows of padding, of queries behind the end, and of those that see no key.
    Padded calls have their mask obeyed, wherever the padding lies.

    Args:
        module: with `GridAttention` or `CrossAttention` in it, or one of these. Compiled layers run
            as they were written meanwhile.

    Yields:
        A dictionary by the layers' names, as in `named_modules`, in that order; each list has a map
        for each call, and is empty of a layer that has not run (on this thread).

    Raises:
        ValueError: if the module has no such layer.
    """
    layers = {n: x for n, x in module.named_modules() if isinstance(x, MultiHeadProjections)}
    if not layers:
        raise ValueError(
            f"attention_maps: received {type(module).__name__}, which has no GridAttention or "
            "CrossAttention; pass a model or an encoder that has"
        )
    recorder = _Recorder(layers)
    with ExitStack() as stack:
        for name, layer in layers.items():
            entered = layer.register_forward_pre_hook(
                partial(recorder.enter, name), with_kwargs=True
            )
            left = layer.register_forward_hook(recorder.leave, always_call=True)
            stack.callback(entered.remove)
            stack.callback(left.remove)
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(recorder)
        yield recorder.maps


@torch.no_grad()
def attention_weights(
    q: Tensor,
    k: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    *,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Computes the weights that `ops.attention` mixes values by; arguments as of that.

    Returns:
        (S, N, max_seqlen_q, max_seqlen_k) float32, or float64 of such queries: rows of queries and
        columns of keys of each sequence, 0 behind its end and where a query does not see a key.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    with no_autocast(q):
        query_SNLE, has_query = _padded(q, cu_seqlens_q, max_seqlen_q)
        key_SNLE, has_key = _padded(k, cu_seqlens_k, max_seqlen_k)
        sees = has_query[:, :, None] & has_key[:, None]
        if causal:
            more = cu_seqlens_k.diff() - cu_seqlens_q.diff()
            last = torch.arange(max_seqlen_q, device=q.device) + more[:, None]
            sees = sees & (torch.arange(max_seqlen_k, device=q.device) <= last[:, :, None])
        scores = (query_SNLE @ key_SNLE.mT) * scale
        hidden = ~sees[:, None]
        # A row that sees nothing is NaN in a softmax, and 0 behind it.
        return scores.masked_fill(hidden, -torch.inf).softmax(-1).masked_fill(hidden, 0)


class _Recorder(TorchDispatchMode):
    """Looks at calls of the attention operator, and knows whose they are."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.maps: Maps = {name: [] for name in names}
        self._thread = get_ident()
        self._running: tuple[str, nn.Module, dict[str, Any]] | None = None

    def enter(self, name: str, layer: nn.Module, _: Any, options: dict[str, Any]) -> None:
        """A layer begins."""
        if get_ident() == self._thread:
            self._running = name, layer, options

    def leave(self, *_: Any) -> None:
        """It has ended, be it by an error."""
        if get_ident() == self._thread:
            self._running = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.vlp_fast.attention.default and self._running is not None:
            name, layer, options = self._running
            self.maps[name].append(_of_call(layer, options, args))
        return func(*args, **(kwargs or {}))


def _of_call(layer: nn.Module, options: dict[str, Any], args: Sequence[Any]) -> Tensor:
    """The weights of one call of the operator, in the order of the rows that the layer got."""
    q, k, _, cu_seqlens_q, cu_seqlens_k, _, longest_q, longest_k, causal, scale, *_ = args
    weights = attention_weights(
        q,
        k,
        cu_seqlens_q,
        cu_seqlens_k,
        max_seqlen_q=longest_q,
        max_seqlen_k=longest_k,
        causal=causal,
        scale=scale,
    )
    is_cross = isinstance(layer, CrossAttention)
    if (padding := options.get("key_padding_mask")) is not None:
        weights = _unsorted(weights, padding, both=not is_cross)
    if (padding := options.get("query_padding_mask")) is not None:
        weights = weights.masked_fill(padding[:, None, :, None], 0)
    return weights


def _unsorted(weights: Tensor, is_padding: Tensor, *, both: bool) -> Tensor:
    """Undoes `sort_padding_last`: every second sequence is padding, and rows have moved."""
    weights = weights[::2]
    places = is_padding.to(torch.uint8).argsort(dim=1, stable=True).argsort(dim=1)
    weights = weights.gather(-1, places[:, None, None].expand_as(weights))
    if both:
        weights = weights.gather(-2, places[:, None, :, None].expand_as(weights))
    return weights


def _padded(x: Tensor, cu_seqlens: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """(T, N, E) as (S, N, L, E), float32 or wider, and (S, L) bool: where there is a row."""
    wide = torch.promote_types(x.dtype, torch.float32)
    column = torch.arange(length, device=x.device)
    there = column < cu_seqlens.diff()[:, None]
    rows = (cu_seqlens[:-1, None] + column).masked_fill(~there, 0)
    held = x if x.shape[0] else x.new_zeros(1, *x.shape[1:])
    padded = held.index_select(0, rows.flatten()).to(wide).unflatten(0, there.shape)
    return padded.masked_fill(~there[..., None, None], 0).transpose(1, 2), there
