"""`vlp-fast submit RUN_DIR --out FILE`: answers to a split in the form that its server takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from vlp_fast.cli.recorded import Recorded, is_started, note, recorded_run, restored
from vlp_fast.data.given_paths import check_output
from vlp_fast.engine.launch import is_first
from vlp_fast.errors import InputError

USAGE = """usage: vlp-fast submit RUN_DIR --out FILE [--split NAME] [--processes N]
       [--data.root PATH] [--task.answers FILE]"""


@dataclass(frozen=True, kw_only=True)
class Submission(Recorded):
    """Write a run's answers to a whole split, checked as its server or official script would."""

    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """The file to write."""
    split: str | None = None
    """The split to answer, as its files call it; test if not given."""
    images: int | None = None
    """Not for this command: a split is handed in whole."""


def run(words: list[str]) -> int:
    """Answer every sample of a split."""
    if not words:
        print(USAGE)
        return 2
    from vlp_fast.cli.options import parse

    asked = parse(Submission, words, "vlp-fast submit")
    check_output(asked.out, "--out")
    if asked.images:
        raise InputError("a split is handed in whole: leave --images out")
    run = recorded_run(replace(asked, images=10**9, split=asked.split or "test"))
    run.task.look_before_submission(run.data)
    if (code := is_started(asked, "submit", words)) is not None:
        return code
    with restored(run) as experiment:
        from vlp_fast.engine.evaluator import submit

        submit(experiment, asked.out, note)
        if is_first():
            print(f"written: {asked.out}, of {experiment.held_out().described()}")
    return 0
