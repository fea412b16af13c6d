"""How many graphs were compiled between two logged lines: none, once the first steps are done."""

from __future__ import annotations

from vlp_fast.engine.world import World


class Compilations:
    """Counts the graphs of `torch.compile`; nothing here asks the device.

    Args:
        is_on: whether the run compiles at all; else there is no figure.
    """

    def __init__(self, *, is_on: bool) -> None:
        self._is_on = is_on
        self._told = _compiled() if is_on else 0

    def figures(self, world: World) -> dict[str, float]:
        """Since the call before, by the process that compiled most; all of them call together."""
        if not self._is_on:
            return {}
        before, self._told = self._told, _compiled()
        return {"compilations": max(world.all_values(self._told - before))}


def _compiled() -> int:
    # Not before somebody compiles: it takes a second to import.
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])
