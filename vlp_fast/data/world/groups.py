"""Groups of objects, by what they have in common: how many there are of each, and where they stand.

Questions, claims and hypotheses speak of groups: "red circles", "the large object", "a star".
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import NamedTuple

from vlp_fast.data.world.scene import Scene, SceneObject, is_clear, relation
from vlp_fast.data.world.statements import PLURALS

DIRECTIONS = ("left", "right", "above", "below")
_OF = {"left": "left of", "right": "right of"}


class Group(NamedTuple):
    """All objects of a size, colour and kind; None: of any."""

    size: str | None = None
    colour: str | None = None
    kind: str | None = None

    def one(self) -> str:
        """Its words for one object, without an article: "red circle", "large object"."""
        return _words(self, self.kind or "object")

    def many(self) -> str:
        """Its words for several or none: "red circles", "objects"."""
        return _words(self, PLURALS[self.kind] if self.kind else "objects")

    def named(self) -> int:
        """How many of the three words are given."""
        return 3 - self.count(None)

    def overlaps(self, other: "Group") -> bool:
        """Whether both give a word of the same sort."""
        return any(first and second for first, second in zip(self, other, strict=True))

    def among(self, other: "Group") -> "Group":
        """The objects of this group that are of the other one too; they must not overlap."""
        return Group(*(first or second for first, second in zip(self, other, strict=True)))


class Known(NamedTuple):
    """The groups that the pictures of a world have, in one order for all pictures.

    Attributes:
        singles: those of one word.
        doubles: those of two.
    """

    singles: tuple[Group, ...]
    doubles: tuple[Group, ...]


@dataclass(frozen=True, eq=False)
class Facts:
    """What a scene says of its groups."""

    scene: Scene

    @cached_property
    def counts(self) -> Mapping[Group, int]:
        """How many objects each group has; 0 for those that are not there."""
        return Counter(group for item in self.scene.objects for group in _groups_of(item))

    @cached_property
    def unique(self) -> Mapping[Group, SceneObject]:
        """The groups that consist of one object, with it."""
        return {
            group: item
            for item in self.scene.objects
            for group in _groups_of(item)
            if self.counts[group] == 1
        }

    @cached_property
    def placements(self) -> Mapping[tuple[Group, Group], frozenset[str | None]]:
        """How some object of a group stands to another of a group: plain relations, None: others.

        Groups are those of a colour or a kind, both of a pair of the same sort.
        """
        found: dict[tuple[Group, Group], set[str | None]] = {}
        for subject, reference in product(self.scene.objects, repeat=2):
            if subject is not reference:
                name = relation(subject, reference)
                plain = name if name and is_clear(subject, name, reference) else None
                for pair in _pairs_of(subject, reference):
                    found.setdefault(pair, set()).add(plain)
        return {pair: frozenset(names) for pair, names in found.items()}

    def stands(self, subject: Group, name: str, reference: Group) -> bool | None:
        """Whether some `subject` is `name` (of) some `reference`; None where it is not plain."""
        names = self.placements.get((subject, reference), frozenset())
        if name in names:
            return True
        return None if None in names else False


def stated(subject: Group, name: str, reference: Group, article: str) -> str:
    """Returns a placement in words: "the circle left of the square"."""
    return f"{article} {subject.one()} {_OF.get(name, name)} {article} {reference.one()}"


def known_groups(everything: Iterable[Facts]) -> Known:
    """Returns the groups of all pictures."""
    found = {group for facts in everything for group in facts.counts}
    ordered = sorted(found, key=lambda group: tuple(word or "" for word in group))
    singles, doubles = (
        tuple(group for group in ordered if group.named() == number) for number in (1, 2)
    )
    return Known(singles, doubles)


@lru_cache(maxsize=4096)
def _words(group: Group, noun: str) -> str:
    return " ".join(word for word in (group.size, group.colour, noun) if word is not None)


def _groups_of(item: SceneObject) -> Iterator[Group]:
    words = ((None, item.size), (None, item.colour), (None, item.kind))
    yield from (Group(*chosen) for chosen in product(*words))


def _pairs_of(subject: SceneObject, reference: SceneObject) -> Iterator[tuple[Group, Group]]:
    yield Group(colour=subject.colour), Group(colour=reference.colour)
    yield Group(kind=subject.kind), Group(kind=reference.kind)
