"""Warnings of several processes appear once: a layer that warns does so in each of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, TextIO

from vlp_fast.engine.world import World


class ToldOnce:
    """Within this context, the first process shows its warnings, and those of others are kept.

    `gather` brings the latter to the first, which shows what it has not yet. Alone, a process warns
    as ever.

    Args:
        world: the processes.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._told: set[str] = set()
        self._kept: list[str] = []
        self._before: Any = None

    def __enter__(self) -> ToldOnce:
        if self._world.count > 1:
            self._before, warnings.showwarning = warnings.showwarning, self._show
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            warnings.showwarning = self._before

    def gather(self) -> list[str]:
        """Lines for the first process to show, of what others were warned of; all call this."""
        kept, self._kept = self._kept, []
        if self._world.count == 1:
            return []
        of_ranks = self._world.all_values(kept)
        return self._new(text for texts in of_ranks for text in texts)

    def _new(self, texts: Iterable[str]) -> list[str]:
        new = [text for text in dict.fromkeys(texts) if text not in self._told]
        self._told.update(new)
        return [f"warning: {text}" for text in new]

    def _show(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = str(message)
        if text in self._told:
            return
        self._told.add(text)
        if self._world.is_first:
            self._before(message, category, filename, lineno, file, line)
        else:
            self._kept.append(text)
