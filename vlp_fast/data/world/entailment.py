"""Hypotheses about a picture, as SNLI-VE makes them: entailed, contradicted, or left open by it.

What is left open is what no picture shows: which object is the heaviest, or the oldest. A
hypothesis follows all the same where it holds whichever object that is, and is false where it holds
for none. So the same sentence is of all three classes, and only the picture tells of which:

    The heaviest circle is red.                  all circles are red | some are | none is
    The oldest star is not small.                none is small | some are | all are
    There is a circle or a heavy red object.     a circle | no circle, but red | neither

Nothing is said of the heaviest circle where there is none.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import permutations
from zlib import crc32

from vlp_fast.data.world.groups import Facts, Group, Known

CLASSES = ("entailment", "neutral", "contradiction")

HIDDEN = {
    "heavy": "heaviest",
    "old": "oldest",
    "new": "newest",
    "soft": "softest",
    "warm": "warmest",
    "cheap": "cheapest",
}
"""What a picture of the world does not show, and its superlative."""


def hypotheses(known: Known, facts: Facts) -> Iterator[tuple[str, str]]:
    """Yields (hypothesis, class) of a scene, given the groups that its world has.

    Whether a sentence is negated, and of which hidden property it speaks, follows from its other
    words, so that the same ones meet in all pictures.
    """
    counts = facts.counts
    for group in (Group(), *(group for group in known.singles if counts[group])):
        for both, is_negated, sentence in _superlatives(group, known):
            agreeing = counts[both]
            label = _class(agreeing == counts[group], agreeing > 0)
            yield sentence, CLASSES[2 - CLASSES.index(label)] if is_negated else label
    for first, other, sentence in _alternatives(known):
        yield sentence, _class(counts[first] > 0, counts[other] > 0)


def _class(is_certain: bool, is_possible: bool) -> str:
    return CLASSES[0 if is_certain else 1 if is_possible else 2]


@lru_cache(maxsize=64)
def _superlatives(group: Group, known: Known) -> list[tuple[Group, bool, str]]:
    """What may be said of the most ... of a group: (those of whom it holds, whether not, words)."""
    found = []
    for said in known.singles:
        if not said.overlaps(group):
            draw = crc32(f"{group.one()} {said.one()}".encode())
            is_negated, hidden = draw % 2 == 1, [*HIDDEN.values()][draw // 2 % len(HIDDEN)]
            words = f"{'not ' * is_negated}{_predicate(said)}"
            sentence = f"The {hidden} {group.one()} is {words}."
            found.append((group.among(said), is_negated, sentence))
    return found


@lru_cache(maxsize=8)
def _alternatives(known: Known) -> list[tuple[Group, Group, str]]:
    """What may be said of two colours, two kinds, or one of each."""
    found = []
    for first, other in permutations((group for group in known.singles if not group.size), 2):
        draw = crc32(f"{first.one()} or {other.one()}".encode())
        hidden = [*HIDDEN][draw % len(HIDDEN)]
        article = "an" if hidden == "old" else "a"
        found.append(
            (first, other, f"There is a {first.one()} or {article} {hidden} {other.one()}.")
        )
    return found


def _predicate(said: Group) -> str:
    return f"a {said.one()}" if said.kind else said.one().removesuffix(" object")
