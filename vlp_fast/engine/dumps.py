"""When a run writes a skipped step down, and how its processes do so together.

The first step that is skipped, outside of the search for fp16's scale, and the last one before the
run goes back or ends. On a CPU that is noticed at once. On a GPU it is noticed where a line is
logged: unless all steps from there on were skipped, too, the weights have moved by then, and the
dump has those of the line and says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlp_fast.engine import dump
from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.keeper import Keeper
from vlp_fast.engine.rerun import Which, rerun
from vlp_fast.engine.standing import Standing
from vlp_fast.engine.updater import Updater


class Dumps:
    """Writes dumps into a run folder; what fails in it is told, and ends no run.

    Args:
        experiment: whose steps they are.
        updater: that skips them.
        keeper: that writes the weights.
    """

    def __init__(self, experiment: Experiment, updater: Updater, keeper: Keeper) -> None:
        self._experiment = experiment
        self._updater = updater
        self._keeper = keeper
        self._folder = experiment.run.directory
        is_there = any(self._folder.glob("dump-*"))
        self._has_first = experiment.world.first_value(is_there)
        self._latest = -1

    def look(self, step: int, standing: Standing, *, is_line: bool) -> str | None:
        """Write the first skipped step down, if there is one now; returns a line about it.

        Args:
            step: whole steps so far.
            standing: by then.
            is_line: whether a line is logged now, which waits for the device anyway.
        """
        is_cpu = self._experiment.precision.device.type == "cpu"
        if self._has_first or not (is_cpu or is_line):
            return None
        odd = self._updater.skipped.odd()
        if odd is None:
            return None
        position, scale = odd
        ahead = standing.rollbacks.passed_over
        which = Which(step=position + 1 - ahead, position=position, scale=scale)
        return self._write(which, step, standing, "the first step that was skipped")

    def last(self, step: int, standing: Standing, reason: str) -> str | None:
        """Write the latest step down, which was skipped; returns a line about it.

        Args:
            step: whole steps so far.
            standing: by then.
            reason: why it is looked into.
        """
        scale, ahead = float(self._updater.skipped.scale), standing.rollbacks.passed_over
        which = Which(step=step, position=step - 1 + ahead, scale=scale)
        return self._write(which, step, standing, reason)

    def _write(self, which: Which, step: int, standing: Standing, reason: str) -> str | None:
        self._has_first = True
        if which.position == self._latest:
            return None
        self._latest = which.position
        world, train = self._experiment.world, self._experiment.run.train
        found: dump.Found | str
        try:
            with self._updater.parameters.whole():
                shards = rerun(self._experiment, which, world.share_of(train.shards))
            found = dump.described(shards)
        except Exception as error:  # as where its memory is not there twice
            found = f"{type(error).__name__}: {error}"
        parts = world.all_values(found)
        failed = [part for part in parts if isinstance(part, str)]
        folder = self._folder / dump.dump_name(which.step, standing.rollbacks.count)
        partial = world.first_value(self._prepared(folder) if world.is_first else "")
        if not world.is_first:
            if isinstance(partial, Path):
                self._keeper.give_parts()
            return None
        good = [part for part in parts if not isinstance(part, str)]
        values = dump.header(self._experiment, which, reason)
        values |= self._weights(which, step) | ({"failed": failed} if failed else {})
        values["shards"], values["modules"] = dump.merged(good)
        try:
            if isinstance(partial, str):
                raise OSError(partial)
            self._keeper.write_to(partial, step, standing)
            dump.finish(partial, folder, values)
        except Exception as error:
            dump.give_up(folder)
            return f"step {which.step} was skipped, and cannot be written down: {error}"
        return f"step {which.step} was skipped; `vlp-fast replay {folder}` looks into it"

    def _prepared(self, folder: Path) -> Path | str:
        """Where the dump is put together, or why it cannot be."""
        try:
            return dump.prepare(folder, self._folder)
        except Exception as error:
            return str(error)

    def _weights(self, which: Which, step: int) -> dict[str, Any]:
        moved = step - int(self._updater.skipped.in_a_row)
        return {"weights_of_step": step, "weights_are_those_of_then": which.step > moved}
