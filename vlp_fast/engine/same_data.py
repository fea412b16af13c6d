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
from vlp_fast.weights.checkpoints import complete_checkpoints, read_state

ROLES = {"train": "train", "held_out": "held out"}
REMEDIES = {"answers": "those that it was trained with (--task.answers)"}
"""By the kind of names, what to give where they are not the data's alone."""


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


def check_same_answers(folder: Path, now: Sequence[str], places: Sequence[Path]) -> None:
    """Refuse answers if a run's newest checkpoint learnt others; without one, none.

    The same as `check_same_data` says of them, without reading anything else.

    Args:
        folder: the run's.
        now: the answers, in their order.
        places: where these are from.

    Raises:
        InputError: naming the first that differs.
    """
    for path in complete_checkpoints(folder)[-1:]:
        _check_names(path, "answers", read_state(path).get("answers", list(now)), list(now), places)


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
    path: Path, kind: str, before: object, now: list[str], places: Sequence[Path]
) -> None:
    if before == now:
        return
    known = before if isinstance(before, list) else []
    old, new = next(pair for pair in zip_longest(known, now) if pair[0] != pair[1])
    how = f"{len(known):,} then, {len(now):,} now"
    if sorted(map(str, known)) == sorted(now):
        how = "the same ones in another order"
    raise InputError(
        f"{path}: learnt other {kind} than {shown_roots(places)} has ({how}): {old!r} is {new!r} "
        f"now; give {REMEDIES.get(kind, 'the same data')} or another --run-dir"
    )
