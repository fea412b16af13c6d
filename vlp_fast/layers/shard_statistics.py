"""What a training step changes besides gradients, where its batch is computed in shards.

The shards of a step may be computed one behind another, or by several processes: none sees what
another has changed. Each takes batch norm's statistics from the state before the step, and their
results are averaged; the rows of all move the codes of a visual dictionary once (SOHO Eq. 4).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vlp_fast.layers.visual_dictionary import VisualDictionary

AVERAGES = ("running_mean", "running_var")


class ShardStatistics:
    """Gathers from each shard what it would have changed, and changes it once a step.

    A dictionary of the official semantics quantises with the codes of the same rows, so it moves
    with every shard and is left as it is.

    Args:
        model: whose modules stay the same ones.

    Attributes:
        names: of the modules whose state `take` gave last, in its order.
    """

    def __init__(self, model: nn.Module) -> None:
        self._names = {module: name for name, module in model.named_modules()}
        modules = list(self._names)
        self._norms = [m for m in modules if isinstance(m, _BatchNorm) and m.track_running_stats]
        dictionaries = (m for m in modules if isinstance(m, VisualDictionary))
        self._dictionaries = [d for d in dictionaries if d.semantics == "paper"]
        self._moving: list[Tensor] = []
        self._counters: list[Tensor] = []
        self._kept: list[Tensor] = []
        self._counted: list[Tensor] = []
        self._used: list[VisualDictionary] = []
        self._moved: list[str] = []
        self.names: list[str] = []

    def begin(self, number: int, count: int) -> None:
        """Begins a shard, `number` of the `count` of the step; all of them start from one state."""
        norms = [norm for norm in self._norms if norm.training]
        self._moving = [norm.get_buffer(name) for norm in norms for name in AVERAGES]
        self._moved = [self._names[norm] for norm in norms for _ in AVERAGES]
        self._counters = [norm.get_buffer("num_batches_tracked") for norm in norms]
        self._kept = [x.clone() for x in self._moving + self._counters]
        for dictionary in self._dictionaries:
            dictionary.begin_shard(number, count)

    def take(self) -> list[Tensor]:
        """Ends a shard: what it would have changed, in tensors that can be added up.

        The state is the one before the shard again.
        """
        averages = [x.clone() for x in self._moving]
        self._counted = [x.clone() for x in self._counters]
        _copy(self._moving + self._counters, self._kept)
        taken = [(d, d.end_shard()) for d in self._dictionaries]
        self._used = [dictionary for dictionary, statistics in taken if statistics is not None]
        self.names = self._moved + [self._names[dictionary] for dictionary in self._used]
        return averages + [statistics for _, statistics in taken if statistics is not None]

    def apply(self, sums: Iterable[Tensor], count: int) -> None:
        """Changes the state by the sums of what `count` shards gave, in the order of `take`."""
        values = list(sums)
        averages, statistics = values[: len(self._moving)], values[len(self._moving) :]
        if averages:
            averages = list(torch._foreach_div(averages, count))
        _copy(self._moving + self._counters, averages + self._counted)
        for dictionary, of_rows in zip(self._used, statistics, strict=True):
            dictionary.end_step(of_rows)


def _copy(to: list[Tensor], values: list[Tensor]) -> None:
    if to:
        with torch.no_grad():
            torch._foreach_copy_(to, values)
