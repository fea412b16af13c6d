"""Codes that nothing hits any more, moved onto rows of the batch; the same on every process.

Neither SOHO nor its code has it. Who is dead is decided from the state before the step, which all
processes share, so that the rows proposed for dead codes can travel where their statistics would:
in the one all-reduce of the step. Each dead code has one process that may propose.

Shape suffixes: N rows, D width, K codes.
"""

import torch
from torch import Tensor

from vlp_fast.ops import CodeStatistics


def propose(
    statistics: CodeStatistics,
    rows: Tensor,
    counts: Tensor,
    is_dead: Tensor,
    *,
    step: Tensor,
    seed: int,
    rank: int,
    processes: int,
) -> CodeStatistics:
    """Returns statistics with a row in the place of each dead code's sum, and 1 as its count.

    Each dead code gets a row of its own, as long as there are enough. 0 and 0 are left to codes
    that are another process's to revive, and to all if there is no row.

    Args:
        statistics: of this process's rows.
        rows: (N, D) float.
        counts: (N,) bool, rows that may become codes.
        is_dead: (K,) bool.
        step: () int64, how many there were.
        seed: rows are drawn from it and the step alone.
        rank: of this process, of so many `processes`.
    """
    mine = is_dead & ((is_dead.cumsum(0) - 1) % processes == rank) & counts.any()
    salt = seed * 0xC2B2AE35 ^ rank * 0x27D4EB2F
    keys = _hash(torch.arange(len(rows), device=rows.device), step, salt & 0xFFFFFFFF)
    # Rows that must not be picked sort last; ranks stay below the number of the others.
    order = torch.where(counts, keys, 1 << 32).argsort(stable=True)
    place = (mine.cumsum(0) - 1).clamp(min=0) % counts.sum().clamp(min=1)
    # Without rows there is nothing to index; `mine` is False then.
    picked = rows[order[place]].float() if len(rows) else torch.zeros_like(statistics.sums)
    proposals = torch.where(mine[:, None], picked, 0.0)
    sums = torch.where(is_dead[:, None], proposals, statistics.sums)
    counts = torch.where(is_dead, mine.float(), statistics.counts)
    buffer = torch.cat((sums.flatten(), counts, statistics.non_finite[None]))
    return CodeStatistics.of(buffer, *sums.shape)


def _hash(numbers: Tensor, step: Tensor, salt: int) -> Tensor:
    """Mixes int64 numbers, a step and a salt into [0, 2^32): a counter-based random draw."""
    mask = 0xFFFFFFFF
    mixed = (numbers * 0x9E3779B1 + step * 0x85EBCA6B + salt) & mask
    for multiplier in (0x7FEB352D, 0x846CA68B):
        mixed = ((mixed ^ (mixed >> 16)) * multiplier) & mask
    return mixed ^ (mixed >> 16)
