"""Questions that a scene answers, as VQA asks them: family by family, each with its answer.

    existence    Is there a red circle?                      yes, no
    count        How many red objects are there?             0 to 8
    colour       What color is the large circle?
    kind         What shape is the red object?
    size         What size is the red circle?
    relation     Is the circle left of the square?           yes, no
    more         Are there more circles than squares?        yes, no
    larger       Which is larger, the circle or the square?  a kind
    background   What is in the background?

Nothing is asked that the picture leaves open: "the circle" is the only one, and stands plainly left
of the square or plainly elsewhere.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import permutations
from typing import NamedTuple

from vlp_fast.data.world.groups import DIRECTIONS, Facts, Group, Known, stated
from vlp_fast.data.world.scene import BACKGROUNDS, COLOURS, MAX_OBJECTS, SIZES
from vlp_fast.data.world.shapes import KINDS

Answered = Iterator[tuple[str, str]]

ANSWERS = ("yes", "no", *map(str, range(MAX_OBJECTS + 1)), *COLOURS, *KINDS, *SIZES, *BACKGROUNDS)
"""Every answer that a question of any world has."""


class Family(NamedTuple):
    """Questions of one form.

    Attributes:
        question_type: the words they begin with, of VQA's list.
        answer_type: "yes/no", "number" or "other".
        ask: yields (question, answer) of a scene, given the groups that its world has.
    """

    question_type: str
    answer_type: str
    ask: Callable[[Known, Facts], Answered]


def _existence(known: Known, facts: Facts) -> Answered:
    for group in known.doubles:
        yield f"Is there a {group.one()}?", _yes(facts.counts[group] > 0)


def _count(known: Known, facts: Facts) -> Answered:
    for group in (Group(), *known.singles):
        yield f"How many {group.many()} are there?", str(facts.counts[group])


def _colour(_: Known, facts: Facts) -> Answered:
    for group, item in facts.unique.items():
        if group.named() and group.colour is None:
            yield f"What color is the {group.one()}?", item.colour


def _kind(_: Known, facts: Facts) -> Answered:
    for group, item in facts.unique.items():
        if group.named() and group.kind is None:
            yield f"What shape is the {group.one()}?", item.kind


def _size(_: Known, facts: Facts) -> Answered:
    for group, item in facts.unique.items():
        if group.named() and group.size is None:
            yield f"What size is the {group.one()}?", item.size


def _relation(_: Known, facts: Facts) -> Answered:
    for subject, reference in facts.placements:
        if subject in facts.unique and reference in facts.unique:
            for name in DIRECTIONS:
                is_so = facts.stands(subject, name, reference)
                if is_so is not None:
                    subject_is = stated(subject, name, reference, "the")
                    yield f"Is {subject_is}?", _yes(is_so)


def _more(_: Known, facts: Facts) -> Answered:
    for first, second in _comparable(facts.counts):
        are_more = facts.counts[first] > facts.counts[second]
        yield f"Are there more {first.many()} than {second.many()}?", _yes(are_more)


def _larger(_: Known, facts: Facts) -> Answered:
    for first, second in _comparable(facts.unique):
        sizes = [SIZES.index(facts.unique[group].size) for group in (first, second)]
        if first.kind and second.kind and sizes[0] != sizes[1]:
            larger = first.kind if sizes[0] > sizes[1] else second.kind
            yield f"Which is larger, the {first.one()} or the {second.one()}?", larger


def _background(_: Known, facts: Facts) -> Answered:
    yield "What is in the background?", facts.scene.background


FAMILIES = {
    "existence": Family("is there a", "yes/no", _existence),
    "count": Family("how many", "number", _count),
    "colour": Family("what color is the", "other", _colour),
    "kind": Family("what", "other", _kind),
    "size": Family("what", "other", _size),
    "relation": Family("is the", "yes/no", _relation),
    "more": Family("are there", "yes/no", _more),
    "larger": Family("which", "other", _larger),
    "background": Family("what is in the", "other", _background),
}


def _comparable(groups: Iterable[Group]) -> Iterator[tuple[Group, Group]]:
    """Pairs of two colours or two kinds, in both orders."""
    singles = [group for group in groups if group.named() == 1 and not group.size]
    yield from (pair for pair in permutations(singles, 2) if pair[0].overlaps(pair[1]))


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
