"""Claims about a left and a right picture, as NLVR2 makes them: true of two of four pairs.

Two left pictures meet two right ones in four pairs. Every claim is true of two of the pairs and
false of the other two, so that its text alone tells nothing. What a single picture cannot settle
("exactly one image", "the same number") is true of a left picture beside one of the right ones and
false beside the other, and the other way round: one picture alone tells nothing either.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from vlp_fast.data.world.groups import Facts, Group, stated
from vlp_fast.data.world.statements import COUNTS

Pair = tuple[Facts, Facts]
"""Two left pictures, or two right ones."""
Truth = bool | None
"""None: not plain."""

_TRIES = 60  # claims of a form that are tried for a set of pictures


class Claim(NamedTuple):
    """A sentence about a left and a right picture.

    Attributes:
        form: which of `FORMS`.
        sentence: as written in the files.
        labels: whether it is true of (left 0, right 0), (0, 1), (1, 0), (1, 1).
    """

    form: str
    sentence: str
    labels: tuple[bool, ...]


class _Seen(NamedTuple):
    """What a picture may show: in words, and whether one shows it (None: not plain)."""

    words: str
    of: Callable[[Facts], Truth]


class _Form(NamedTuple):
    """Sentences of one form; `needs_both`: one picture alone must not settle them."""

    draw: Callable[[Facts, np.random.Generator], tuple[str, Callable[[Facts, Facts], Truth]]]
    needs_both: bool = False


def claims(lefts: Pair, rights: Pair, rng: np.random.Generator) -> list[Claim]:
    """Returns one claim of every form that these pictures have one for, in random order."""
    found = [_claim(form, lefts, rights, rng) for form in FORMS]
    present = [claim for claim in found if claim is not None]
    return [present[i] for i in rng.permutation(len(present))]


def _claim(name: str, lefts: Pair, rights: Pair, rng: np.random.Generator) -> Claim | None:
    form, pictures = FORMS[name], (*lefts, *rights)
    for _ in range(_TRIES):
        sentence, truth = form.draw(pictures[int(rng.integers(4))], rng)
        labels = [truth(left, right) for left, right in product(lefts, rights)]
        told = tuple(label for label in labels if label is not None)
        if len(told) == 4 and _is_balanced(told, form.needs_both):
            return Claim(name, sentence, told)
    return None


def _is_balanced(labels: Sequence[bool], needs_both: bool) -> bool:
    crossed = labels[0] == labels[3] and labels[1] == labels[2]
    return sum(labels) == 2 and (crossed or not needs_both)


def _about(start: str, join: Callable[[Truth, Truth], Truth], *, needs_both: bool = False) -> _Form:
    """Sentences on who of the two shows something that one of the pictures shows."""

    def draw(facts: Facts, rng: np.random.Generator) -> tuple[str, Callable[[Facts, Facts], Truth]]:
        seen = _SEEN[int(rng.integers(len(_SEEN)))](facts, rng)
        return f"{start} {seen.words}.", lambda left, right: join(seen.of(left), seen.of(right))

    return _Form(draw, needs_both)


def _known(join: Callable[[bool, bool], bool]) -> Callable[[Truth, Truth], Truth]:
    """The same where both are plain, None elsewhere."""
    return lambda left, right: None if left is None or right is None else join(left, right)


def _same_number(
    facts: Facts, rng: np.random.Generator
) -> tuple[str, Callable[[Facts, Facts], Truth]]:
    group = _countable(facts, rng)
    return (
        f"Both images show the same number of {group.many()}.",
        lambda left, right: left.counts[group] == right.counts[group],
    )


def _same_ground(_: Facts, rng: np.random.Generator) -> tuple[str, Callable[[Facts, Facts], Truth]]:
    if rng.random() < 0.5:
        sentence = "The background is the same in both images."
        return sentence, lambda left, right: left.scene.background == right.scene.background
    sentence = "The two images have different backgrounds."
    return sentence, lambda left, right: left.scene.background != right.scene.background


def _more(facts: Facts, rng: np.random.Generator) -> tuple[str, Callable[[Facts, Facts], Truth]]:
    group, sides = _countable(facts, rng), ["left", "right"]
    first, second = sides if rng.random() < 0.5 else sides[::-1]
    sign = 1 if first == "left" else -1
    return (
        f"The {first} image shows more {group.many()} than the {second} image.",
        lambda left, right: sign * (left.counts[group] - right.counts[group]) > 0,
    )


FORMS = {
    "left": _about("The left image shows", lambda left, _: left),
    "right": _about("The right image shows", lambda _, right: right),
    "one": _about("Exactly one image shows", _known(lambda a, b: a != b), needs_both=True),
    "both": _about("Both images show", _known(lambda a, b: a and b)),
    "any": _about("At least one image shows", _known(lambda a, b: a or b)),
    "same_number": _Form(_same_number, needs_both=True),
    "same_ground": _Form(_same_ground, needs_both=True),
    "more": _Form(_more),
}


def _thing(facts: Facts, rng: np.random.Generator) -> _Seen:
    group = _drawn([group for group in facts.counts if group.named() in (1, 2)], rng)
    return _Seen(f"a {group.one()}", lambda other: other.counts[group] > 0)


def _number(facts: Facts, rng: np.random.Generator) -> _Seen:
    group = _countable(facts, rng)
    number = facts.counts[group]
    words = group.one() if number == 1 else group.many()
    return _Seen(
        f"exactly {COUNTS[number - 1]} {words}", lambda other: other.counts[group] == number
    )


def _placement(facts: Facts, rng: np.random.Generator) -> _Seen:
    """A plain placement; a thing where there is none."""
    found = [
        (subject, name, reference)
        for (subject, reference), names in facts.placements.items()
        for name in sorted(name for name in names if name is not None)
    ]
    if not found:
        return _thing(facts, rng)
    subject, name, reference = found[int(rng.integers(len(found)))]
    return _Seen(
        stated(subject, name, reference, "a"),
        lambda other: other.stands(subject, name, reference),
    )


_SEEN = (_thing, _number, _placement)


def _countable(facts: Facts, rng: np.random.Generator) -> Group:
    return _drawn([group for group in facts.counts if group.named() < 2], rng)


def _drawn(groups: Sequence[Group], rng: np.random.Generator) -> Group:
    return groups[int(rng.integers(len(groups)))]
