"""`vlp-fast replay DUMP`: repeat a step that was skipped, and say what is not finite in it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vlp_fast.cli.recorded import Places, Recorded, TaskPlaces, note, recorded_run
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError

USAGE = """usage: vlp-fast replay DUMP [--data.root PATH] [--task.answers FILE] [--device cpu|cuda]

DUMP is a folder RUN_DIR/dump-<step>, which a run writes when a step is skipped. Exit code 0 if it
is not finite this time either, 1 if it now is."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Repeat a step that was skipped, with the same samples, masks, dropout and weights.

    Says of each shard which module's output or gradient was not finite first, and of which samples.
    """

    dump: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DUMP")]
    """The dump's folder."""
    data: Places = field(default_factory=Places)
    task: TaskPlaces = field(default_factory=TaskPlaces)
    recipe_file: Path | None = None
    """The file of a recipe of your own that the run was trained by; it is run. A file that only a
    run's folder names is not."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Auto: the GPU if there is one."""


def run(words: list[str]) -> int:
    """Repeat the step of a dump."""
    if not words:
        print(USAGE)
        return 2
    from vlp_fast.cli.options import parse

    asked: Replay = parse(Replay, words, "vlp-fast replay")
    if not (asked.dump / "dump.json").is_file():
        raise InputError(
            f"{printable(asked.dump)}: no dump.json; expected a folder that a run has written, "
            "RUN_DIR/dump-<step>"
        )
    recorded = recorded_run(
        Recorded(
            run_dir=asked.dump, data=asked.data, task=asked.task, recipe_file=asked.recipe_file
        )
    )
    of_step = replace(recorded, train=replace(recorded.train, device=asked.device))
    from vlp_fast.engine.replay import replay

    return 0 if replay(of_step, _say) else 1


def _say(line: str) -> None:
    if line.startswith("note: "):
        note(line.removeprefix("note: "))
    else:
        print(printable(line))
