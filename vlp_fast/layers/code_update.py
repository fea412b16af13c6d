"""A step of the codes between its statistics and its end, while other processes' are on the way."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributed import Work

from vlp_fast.ops import CodeStatistics, ema_update


class CodeUpdate(NamedTuple):
    """What the end of the step needs.

    Attributes:
        statistics: of this process until the work is done, of all of them then.
        work: of the other processes; None if there are none.
        version: of the codes when the step began, as `version_of` tells it.
    """

    statistics: CodeStatistics
    work: Work | None
    version: int

    def wait(self, codes: Tensor) -> None:
        """Waits for the other processes; on a GPU the stream does, not the host.

        Raises:
            RuntimeError: if something else has changed the codes (K, D) meanwhile. One process may
                then have made its step and another not, which would be two states.
        """
        if self.work is None:
            return
        self.work.wait()
        if version_of(codes) != self.version:
            raise RuntimeError(
                "VisualDictionary: received other codes while statistics of other processes were "
                "on their way, expected those of the step; give DistributedDataParallel "
                "broadcast_buffers=False, or call finish_update() before the codes are changed"
            )


class ShardRows:
    """What the rows of a shard say about the codes, which move when all shards have spoken.

    Attributes:
        rank, count: which shard of how many this is.
        statistics: a buffer as of `CodeStatistics`; None without rows so far.
    """

    def __init__(self, rank: int, count: int) -> None:
        self.rank, self.count = rank, count
        self.statistics: Tensor | None = None

    def add(self, statistics: CodeStatistics) -> None:
        """Counts the rows of a call in."""
        earlier, buffer = self.statistics, statistics.buffer
        self.statistics = buffer if earlier is None else earlier + buffer


def finite_statistics(statistics: CodeStatistics) -> tuple[Tensor, Tensor, Tensor]:
    """Returns sums (K, D), counts (K,), and the number () of rows that were left out.

    Rows that are finite, but huge, have a sum that is not: such a code counts as not hit.
    Nothing is written to the statistics: they are views of one buffer, and of a loop that
    writes through such a view Inductor has dropped the rest beyond a multiple of the tile.
    """
    sums, counts, non_finite, _ = statistics
    is_broken = ~sums.sum(1).isfinite()
    left_out = non_finite + counts.masked_fill(~is_broken, 0).sum()
    finite = sums.masked_fill(is_broken[:, None], 0)
    return finite, counts.masked_fill(is_broken, 0), left_out


def replace_codes(codes: Tensor, vectors: Tensor, chosen: Tensor) -> None:
    """Overwrites the chosen (K,) of codes (K, D) float32 by vectors (K, D), in place.

    By an operator, because Inductor of PyTorch 2.11 moves a copy into a buffer in front of an
    operator that still reads the old codes.
    """
    ema_update(codes, vectors, chosen.float(), momentum=0.0)


def version_of(codes: Tensor) -> int:
    """Returns PyTorch's count of the changes of a tensor; 0 where it does not count."""
    return 0 if torch.compiler.is_compiling() or codes.is_inference() else codes._version
