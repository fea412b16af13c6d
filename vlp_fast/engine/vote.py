"""Whether any process was asked to stop: all of them stop after the same step."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vlp_fast.engine.world import World


class Vote:
    """Asks all processes for a signal at each step, and reads the answer at the next.

    So nobody waits: the answer has travelled while a step was computed.

    Args:
        world: the processes.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked: tuple[Any, Tensor] | None = None

    def cast(self, number: int) -> int:
        """The largest number that any process gave at the call before; alone, this one.

        Args:
            number: of the signal that this process was sent; 0 for none. All call equally often.
        """
        if self._world.count == 1:
            return number
        answer = self._read()
        box = torch.tensor([number], dtype=torch.int32)
        work = dist.all_reduce(box, dist.ReduceOp.MAX, group=self._world.host, async_op=True)
        self._asked = work, box
        return answer

    def _read(self) -> int:
        if self._asked is None:
            return 0
        (work, box), self._asked = self._asked, None
        work.wait()
        return int(box)
