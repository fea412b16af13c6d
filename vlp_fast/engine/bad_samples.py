"""Samples that were replaced, since a picture is broken: told once each, and written down."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from vlp_fast.data.printable import printable
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.progress import append_row

NAME = "bad_samples.jsonl"
"""In the run folder: an object a line, with the step and the problem."""


class BadSamples:
    """The replaced samples of a run, as far as this process has seen them.

    Args:
        run: the configuration.
        say: gets a line for each, and behind the first one how all of them are found.
    """

    def __init__(self, run: RunConfig, say: Callable[[str], object]) -> None:
        self._path = run.directory / NAME
        self._roots = run.data.root
        self._say = say
        self._told: set[str] = set()

    def tell(self, problems: Iterable[str], step: int) -> None:
        """Say and write down what has not been yet."""
        for problem in problems:
            what = problem.rpartition("; ")[0] or problem  # what replaces it changes each epoch
            if what in self._told:
                continue
            self._say(f"replaced: {problem}")
            if not self._told:
                self._say(f"warning: pictures are broken; {check_command(self._roots)} finds all")
            self._told.add(what)
            append_row(self._path, {"step": step, "problem": problem})


def check_command(roots: tuple[Path, ...]) -> str:
    """The command that finds all broken pictures."""
    return f"`vlp-fast data check {' '.join(printable(shlex.quote(str(r))) for r in roots)}`"
