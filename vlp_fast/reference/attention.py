"""Attention over packed sequences in plain torch: softmax(q k^T scale) v within each sequence.

Sequences are padded by index into zeros, so nothing of a neighbour (NaN included) can reach a row,
and padded keys get weight 0. Scores and softmax are float32 (float64 for float64 inputs); weights
meet bfloat16 values in bfloat16, as in every fused kernel. Products are written out, and taken for
some sequences at a time so that scores stay in the cache: in PyTorch 2.11 on a CPU the
backward pass of `scaled_dot_product_attention` in bfloat16 takes six times as long. Where the host
knows the lengths, those products leave out the padding.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from vlp_fast.reference.dropout import dropout_factors
from vlp_fast.reference.precision import widen

# Scores held at a time: 1 MiB of float32 is what a core keeps in its cache.
_SCORES_AT_A_TIME = {"cpu": 2**18, "cuda": 2**26}

# exp2 is four times as fast as exp on a CPU, so scores are in units of ln 2.
_LN2 = 0.6931471805599453


class Sequences(NamedTuple):
    """Where the rows of one packed operand lie in its padded form, S sequences of `length`."""

    places: Tensor | None
    """(T,) place of each row; `None` if no sequence is shorter than `length`."""
    rows: Tensor | None
    """(S * length,) row of each place, any for padding; `None` as above."""
    padding: Tensor | None
    """(S * length,) bool, the places behind each sequence; `None` as above."""
    lengths: Tensor
    """(S,) int64."""
    length: int
    host_lengths: tuple[int, ...] | None
    """The same as `lengths` where the host knows them, on a CPU."""


class Part(NamedTuple):
    """Sequences whose scores are taken at a time, and their rows up to the longest of them."""

    sequences: slice
    queries: slice
    keys: slice

    @property
    def of_queries(self) -> tuple[slice, slice, slice]:
        """Place in a padded operand of queries, (S, N, Lq, ...)."""
        return self.sequences, slice(None), self.queries

    @property
    def of_keys(self) -> tuple[slice, slice, slice]:
        """Place in a padded operand of keys, (S, N, Lk, ...)."""
        return self.sequences, slice(None), self.keys


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
    queries = _sequences(cu_seqlens_q, max_seqlen_q, len(q))
    keys = _sequences(cu_seqlens_k, max_seqlen_k, len(k))
    hidden = _hidden(queries, keys, causal, q)
    wide, narrow = _dtypes(q)
    padded_q, padded_k = _pad(q, queries, wide), _pad(k, keys, wide)
    padded_v = _pad(v, keys, narrow)
    out = torch.empty_like(padded_q, dtype=narrow)
    lse = padded_q.new_empty(padded_q.shape[:3])
    for part in _parts(queries, keys, q):
        scores = _scores(padded_q[part.of_queries], padded_k[part.of_keys], hidden, part, scale)
        weights = _softmax_(scores, lse[part.of_queries])
        if seed is not None:
            weights.mul_(_dropout(weights, part, dropout_p, seed))
        out[part.of_queries] = weights.to(narrow) @ padded_v[part.of_keys]
    rows = _unpad(lse[..., None], queries, lse.dtype)[..., 0]
    return _unpad(out, queries, q.dtype), rows.T.contiguous()


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
    queries = _sequences(cu_seqlens_q, max_seqlen_q, len(q))
    keys = _sequences(cu_seqlens_k, max_seqlen_k, len(k))
    hidden = _hidden(queries, keys, causal, q)
    wide, narrow = _dtypes(q)
    padded_q, padded_k = _pad(q, queries, narrow), _pad(k, keys, narrow)
    padded_v, padded_grad = _pad(v, keys, wide), _pad(grad, queries, narrow)
    # sum_j P_ij dP_ij = dO_i . O_i, with dropout too.
    centres = (grad.to(wide) * out).sum(-1)
    lse = lse.T / _LN2
    padded_lse, padded_centres = (_pad(x[..., None], queries, wide) for x in (lse, centres))
    of_q, of_k = torch.empty_like(padded_q), torch.empty_like(padded_k)
    of_v = torch.empty_like(padded_v, dtype=narrow)
    for part in _parts(queries, keys, q):
        at_q, at_k = part.of_queries, part.of_keys
        weights = _scores(padded_q[at_q], padded_k[at_k], hidden, part, scale)
        weights.sub_(padded_lse[at_q]).exp2_()
        grad_weights = padded_grad[at_q].to(wide) @ padded_v[at_k].mT
        used = weights
        if seed is not None:
            dropout = _dropout(weights, part, dropout_p, seed)
            grad_weights.mul_(dropout)
            used = dropout.mul_(weights)
        of_v[at_k] = used.to(narrow).mT @ padded_grad[at_q]
        grad_scores = grad_weights.sub_(padded_centres[at_q]).mul_(weights).mul_(scale)
        grad_scores = grad_scores.to(narrow)
        of_q[at_q] = grad_scores @ padded_k[at_k]
        of_k[at_k] = grad_scores.mT @ padded_q[at_q]
    grad_q.copy_(_unpad(of_q, queries, q.dtype))
    grad_k.copy_(_unpad(of_k, keys, k.dtype))
    grad_v.copy_(_unpad(of_v, keys, v.dtype))


def lengths_of(bounds: tuple[int, ...], longest: int, rows: int) -> tuple[int, ...]:
    """Lengths of sequences, from bounds that are those of `rows` rows in sequences up to `longest`.

    Raises:
        ValueError: they are not.
    """
    lengths = tuple(stop - start for start, stop in pairwise(bounds))
    found = max(lengths, default=0)
    if found > longest or bounds[0] != 0 or bounds[-1] != rows or min(lengths, default=0) < 0:
        raise ValueError(
            f"attention: received {rows} rows with cu_seqlens from {bounds[0]} to {bounds[-1]} and "
            f"longest sequence {found}, expected cu_seqlens that rises from 0 to the number of "
            f"rows, and no sequence longer than max_seqlen {longest}"
        )
    return lengths


def _sequences(cu_seqlens: Tensor, length: int, rows: int) -> Sequences:
    if cu_seqlens.device.type == "cpu":
        return _sequences_on_host(tuple(cu_seqlens.tolist()), length, rows)
    return _located(cu_seqlens.long(), length, rows, None)


# All layers share a packing, and so does the backward pass: five are in use in a step of E2E-VLP.
@lru_cache(maxsize=16)
def _sequences_on_host(bounds: tuple[int, ...], length: int, rows: int) -> Sequences:
    # Values, so only where reading them costs nothing: on a GPU this would be a wait.
    lengths = lengths_of(bounds, length, rows)
    return _located(torch.tensor(bounds, device="cpu"), length, rows, lengths)


def _located(
    bounds: Tensor, length: int, rows: int, host_lengths: tuple[int, ...] | None
) -> Sequences:
    lengths = bounds.diff()
    if rows == len(lengths) * length:
        return Sequences(None, None, None, lengths, length, host_lengths)
    column = torch.arange(length, device=bounds.device)
    padding = column >= lengths[:, None]
    held = (bounds[:-1, None] + column).masked_fill_(padding, 0)
    numbers = torch.arange(len(lengths), device=bounds.device)
    shifts = (numbers * length - bounds[:-1]).repeat_interleave(lengths, output_size=rows)
    places = shifts + torch.arange(rows, device=bounds.device)
    return Sequences(places, held.flatten(), padding.flatten(), lengths, length, host_lengths)


def _hidden(queries: Sequences, keys: Sequences, causal: bool, q: Tensor) -> Tensor | None:
    """Addend of the scores, (S, 1, 1 or Lq, Lk): -inf where a query does not see a key."""
    if not causal and keys.places is None:
        return None
    column = torch.arange(keys.length, device=q.device)
    ends = keys.lengths[:, None, None, None]
    if causal:
        row = torch.arange(queries.length, device=q.device)[:, None]
        ends = torch.minimum(ends, row + 1 + ends - queries.lengths[:, None, None, None])
    dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    # Adding is six times as fast on a CPU as masked_fill_ with a mask that broadcasts.
    return torch.zeros((), dtype=dtype, device=q.device).where(column < ends, -torch.inf)


def _parts(queries: Sequences, keys: Sequences, q: Tensor) -> Iterator[Part]:
    """Sequences whose scores fit in the cache."""
    scores = max(1, q.shape[1] * queries.length * keys.length)
    step = max(1, _SCORES_AT_A_TIME.get(q.device.type, 2**26) // scores)
    for start in range(0, len(queries.lengths), step):
        sequences = slice(start, start + step)
        ends = (_longest(operand, sequences) for operand in (queries, keys))
        yield Part(sequences, *(slice(0, end) for end in ends))


def _longest(operand: Sequences, sequences: slice) -> int:
    if operand.host_lengths is None:
        return operand.length
    return max(operand.host_lengths[sequences], default=0)


def _scores(q: Tensor, k: Tensor, hidden: Tensor | None, part: Part, scale: float) -> Tensor:
    """Scores of a part (S', N, Lq, Lk), divided by ln 2."""
    scores = (widen(q) @ widen(k).mT).mul_(scale / _LN2)
    if hidden is None:
        return scores
    rows = part.queries if hidden.shape[2] > 1 else slice(None)
    return scores.add_(hidden[part.sequences, :, rows, part.keys])


def _softmax_(scores: Tensor, lse: Tensor) -> Tensor:
    """Softmax in place of scores / ln 2; a row that sees no key gets weights 0 and `lse` +inf."""
    if scores.shape[-1] == 0:
        lse.fill_(torch.inf)
        return scores
    largest = scores.amax(-1, keepdim=True)
    largest.masked_fill_(largest == -torch.inf, 0)
    weights = scores.sub_(largest).exp2_()
    total = weights.sum(-1, keepdim=True)
    lse.copy_(torch.where(total > 0, (largest + total.log2()) * _LN2, torch.inf)[..., 0])
    return weights.div_(total.clamp_(min=torch.finfo(total.dtype).tiny))


def _dropout(weights: Tensor, part: Part, dropout_p: float, seed: Tensor) -> Tensor:
    """Factors of a part's weights, by the hash documented at `ops.attention`."""
    sequences, heads, rows, columns = weights.shape
    places = ((part.sequences.start, sequences), (0, heads), (0, rows))
    return dropout_factors(places, columns, dropout_p=dropout_p, seed=seed, dtype=weights.dtype)


def _pad(x: Tensor, sequences: Sequences, dtype: torch.dtype) -> Tensor:
    """(T, N, E) to contiguous (S, N, length, E) of a dtype, zeros behind each sequence."""
    if sequences.rows is not None and sequences.padding is not None:
        held = x if len(x) else x.new_zeros(1, *x.shape[1:])
        x = held.index_select(0, sequences.rows)
        x.masked_fill_(sequences.padding[:, None, None], 0)
    padded = x.reshape(len(sequences.lengths), sequences.length, *x.shape[1:]).transpose(1, 2)
    return padded.to(dtype, memory_format=torch.contiguous_format).contiguous()


def _dtypes(q: Tensor) -> tuple[torch.dtype, torch.dtype]:
    """Of scores and of what meets them: products in float16 take 12 times as long on a CPU."""
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    return wide, wide if q.dtype == torch.float16 else q.dtype


def _unpad(x: Tensor, sequences: Sequences, dtype: torch.dtype) -> Tensor:
    """(S, N, length, E) to (T, N, E)."""
    # Of one sequence, the transposed view would stay one: results are dense whatever they hold.
    flat = x.transpose(1, 2).to(dtype).contiguous().flatten(0, 1)
    return flat if sequences.places is None else flat.index_select(0, sequences.places)
