"""What all servers want: an answer to every example, and none twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TypeVar

from vlp_fast.data.printable import printable
from vlp_fast.data.records import Dataset
from vlp_fast.errors import InputError

K = TypeVar("K", int, str)
V = TypeVar("V")


def complete(
    answers: Iterable[tuple[K, V]], keys: Collection[K], *, where: object, split: str
) -> dict[K, V]:
    """Compare the ids of answers with those of a split.

    Args:
        answers: id and answer of each.
        keys: ids of the split, of all its examples.
        where: the file, for messages.
        split: the split, for messages.

    Returns:
        The answers by id, in the order of the keys.

    Raises:
        InputError: if an id is missing, foreign, or there twice.
    """
    given: dict[K, V] = {}
    wanted = set(keys)
    for key, answer in answers:
        if key in given:
            raise _wrong(where, f"answers {key!r} twice", "give one answer to each")
        if key not in wanted:
            raise _wrong(where, f"answers {key!r}, which is not in {split}", "predict this split")
        given[key] = answer
    missing = [key for key in keys if key not in given]
    if missing:
        what = f"lacks {len(missing):,} of {len(wanted):,} answers to {split}, the first to "
        remedy = "answer them all; examples without their picture count too"
        raise _wrong(where, what + repr(missing[0]), remedy)
    return {key: given[key] for key in keys}


def refuse_partial(dataset: Dataset, keys: Collection[int | str], root: Path) -> None:
    """Refuse to begin with a split of which samples are left out: answers to all are wanted.

    Args:
        dataset: what would be answered.
        keys: of all samples of the split, or of all images where there are no samples.
        root: where they are from, for the message.

    Raises:
        InputError: with the first that is left out, and what the reader noted.
    """
    there = set(dataset.keys())
    missing = [key for key in keys if key not in there]
    if missing:
        what = "samples" if dataset.samples else "images"
        noted = "".join(f" ({note})" for note in dataset.notes)
        raise InputError(
            f"{printable(root)}: {len(missing):,} of {len(keys):,} {what} of {dataset.name} are "
            f"left out{noted}, the first is {printable(repr(missing[0]))}, and all have to be "
            "answered; complete the data, or give other data with --data.root"
        )


def refuse_other_split(split: str, allowed: Iterable[str], what: str) -> None:
    """Refuse a split that nobody scores answers to.

    Raises:
        InputError: if it is not one of the allowed.
    """
    allowed = tuple(allowed)
    if split not in allowed:
        raise InputError(
            f"no answers to split '{printable(split)}' of {what} are to be handed in; predict "
            f"{' or '.join(allowed)}"
        )


def _wrong(where: object, what: str, remedy: str) -> InputError:
    return InputError(f"{printable(where)}: {printable(what)}; {remedy}")
