"""A run goes on, and is evaluated, with the data that it learnt from and with no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from vlp_fast.data.config import DataConfig
from vlp_fast.data.fingerprint import difference, fingerprint
from vlp_fast.data.given_paths import shown_roots
from vlp_fast.data.printable import printable
from vlp_fast.data.records import Dataset
from vlp_fast.errors import InputError

ROLES = {"train": "train", "held_out": "held out"}


def identify(
    train: Dataset,
    held_out: Dataset,
    config: DataConfig,
    answers: Sequence[str] = (),
    pictures: str = "",
) -> dict[str, Any]:
    """What a checkpoint keeps of the data: names of the model's outputs, digests of the records.

    Args:
        train: as it is read.
        held_out: likewise.
        config: which splits they are.
        answers: what the outputs of the task's own heads stand for, in their order.
        pictures: how those of training are decoded.
    """
    return {
        "classes": list(train.class_names),
        "attributes": list(train.attribute_names),
        "answers": list(answers),
        "pictures": pictures,
        "data": {
            "train": {"split": config.train_split, **fingerprint(train)},
            "held_out": {"split": config.held_out_split, **fingerprint(held_out)},
        },
    }


def check_same_data(
    path: Path,
    state: dict[str, Any],
    now: dict[str, Any],
    roots: tuple[Path, ...],
    say: Callable[[str], object],
) -> None:
    """Refuse a checkpoint that was learnt from other data.

    Data of another split than the run's are not compared: a run may be evaluated on any.

    Args:
        path: the checkpoint.
        state: its state.json, with what `identify` returned for the data of then.
        now: what it returns for the data of now.
        roots: the folders of the data of now.
        say: gets a line where the checkpoint is of a version that kept no digests, and where its
            pictures were decoded otherwise.

    Raises:
        InputError: naming the first difference.
    """
    for kind in ("classes", "attributes", "answers"):
        _check_names(path, kind, state.get(kind, now[kind]), now[kind], roots)
    if state.get("pictures", now["pictures"]) != now["pictures"]:
        say(
            f"{path.name} learnt from pictures decoded by {printable(state['pictures'])}; here "
            f"training decodes by {now['pictures']}"
        )
    if "data" not in state:
        say(
            f"{path.name} is of a version that kept no digest of its data; whether "
            f"{shown_roots(roots)} holds the same is not known"
        )
        return
    for role, words in ROLES.items():
        then = state["data"].get(role) if isinstance(state["data"], dict) else None
        if isinstance(then, dict) and then.get("split") != now["data"][role]["split"]:
            continue
        if what := difference(then, now["data"][role]):
            raise InputError(
                f"{path}: its run had other data than {shown_roots(roots)}: {words} {what}; give "
                "the folder of that data with --data.root, or train anew in another --run-dir"
            )


def _check_names(
    path: Path, kind: str, before: object, now: list[str], roots: tuple[Path, ...]
) -> None:
    if before == now:
        return
    old, new = next(
        pair
        for pair in zip_longest(before if isinstance(before, list) else (), now)
        if pair[0] != pair[1]
    )
    raise InputError(
        f"{path}: learnt other {kind} than {shown_roots(roots)} has: {old!r} is {new!r} now; give "
        "the same data or another --run-dir"
    )
