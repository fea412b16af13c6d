"""What a person should know about the data before a run: each thing once, and of which split."""

from __future__ import annotations

from vlp_fast.tasks.task import Task


def split_notes(task: Task) -> tuple[str, ...]:
    """Lines that begin with "train", "held out" or "train and held out"."""
    of: dict[str, list[str]] = {}
    more = task.notes()
    for split, dataset in (("train", task.train), ("held out", task.held_out)):
        for line in (*dataset.notes, *more[split]):
            of.setdefault(line, []).append(split)
    lines = (f"{' and '.join(splits)}: {line}" for line, splits in of.items())
    return (*lines, *(f"init: {loaded}" for loaded in task.loaded))
