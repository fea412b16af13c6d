"""What a person should know about the data before a run: each thing once, and of which split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from vlp_fast.tasks.task import Task
from vlp_fast.weights.loaded import new_in_all


def split_notes(task: Task) -> tuple[str, ...]:
    """Lines that begin with "train", "held out" or "train and held out"."""
    of: dict[str, list[str]] = {}
    more = task.notes()
    for split, dataset in (("train", task.train), ("held out", task.held_out)):
        for line in (*dataset.notes, *more[split]):
            of.setdefault(line, []).append(split)
    lines = (f"{' and '.join(splits)}: {line}" for line, splits in of.items())
    return (*lines, *(f"init: {loaded}" for loaded in task.loaded), *_new_lines(task))


def _new_lines(task: Task) -> Iterator[str]:
    """What no file of first weights had anything for, the task's heads among it."""
    if not task.loaded:
        return
    model, heads = task.learner.model, task.learner.heads
    names, parts = new_in_all(task.loaded)
    new = [f"{parts} ({_size(model, names)})"] if names else []
    if heads is not None:
        new.append(f"the head of {' and '.join(task.curves)} ({_size(heads, heads.state_dict())})")
    if new:
        yield f"init: new and random at first: {', and '.join(new)}"


def _size(module: nn.Module, names: Iterable[str]) -> str:
    state = module.state_dict()
    count = sum(state[name].numel() for name in names)
    return f"{count / 1e6:.1f} M parameters" if count >= 1e6 else f"{count:,} parameters"
