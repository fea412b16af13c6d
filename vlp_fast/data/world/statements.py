"""What can be said about a scene: four kinds of statement, each with its words and its truth.

    Existence    "[there is] a small red circle and a blue square and a pink ring [on sand]"
    Placement    "a red circle left of a blue square [on sand]", "a red star inside a blue ring"
    Count        "there are four objects [on sand]", "there are two red circles [on sand]"
    Background   "the background is sand"

`words` and `parse_statement` are inverse to each other. A count is exact; things that one statement
names are distinct objects. The texture of a thing is grammatical, but only region descriptions say
it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vlp_fast.data.world.scene import (
    BACKGROUNDS,
    COLOURS,
    RELATIONS,
    SIZES,
    Scene,
    SceneObject,
    relation,
)
from vlp_fast.data.world.shapes import KINDS, TEXTURES

COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
PLURALS = {kind: kind + ("es" if kind.endswith("s") else "s") for kind in KINDS}
_SINGULARS = {plural: kind for kind, plural in PLURALS.items()}
_WITH_OF = ("left", "right")


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A description that objects may answer to; None: any."""

    colour: str
    kind: str
    size: str | None = None
    texture: str | None = None

    def words(self) -> tuple[str, ...]:
        """The description without its article."""
        adjectives = (self.size, self.texture, self.colour)
        return (*(word for word in adjectives if word is not None), self.kind)

    def matches(self, item: SceneObject) -> bool:
        """Whether an object answers to the description."""
        return (
            item.kind == self.kind
            and item.colour == self.colour
            and self.size in (None, item.size)
            and self.texture in (None, item.texture)
        )


@dataclass(frozen=True, kw_only=True)
class Existence:
    """There is one object for each of the things (and the background is as said)."""

    things: tuple[Thing, ...]
    background: str | None = None
    there_is: bool = False

    def words(self) -> tuple[str, ...]:
        """The statement in words."""
        start = ("there", "is") if self.there_is else ()
        middle = [word for thing in self.things for word in ("and", "a", *thing.words())][1:]
        return (*start, *middle, *_on(self.background))

    def holds(self, scene: Scene) -> bool:
        """Whether the statement is true of the scene."""
        return self.background in (None, scene.background) and _assignable(
            self.things, scene.objects
        )


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Some object `subject` stands in `relation` to some object `reference`."""

    subject: Thing
    relation: str
    reference: Thing
    background: str | None = None

    def words(self) -> tuple[str, ...]:
        """The statement in words."""
        place = (self.relation, "of") if self.relation in _WITH_OF else (self.relation,)
        both = ("a", *self.subject.words(), *place, "a", *self.reference.words())
        return (*both, *_on(self.background))

    def holds(self, scene: Scene) -> bool:
        """Whether the statement is true of the scene."""
        return self.background in (None, scene.background) and any(
            relation(subject, reference) == self.relation
            for subject in scene.objects
            if self.subject.matches(subject)
            for reference in scene.objects
            if reference is not subject and self.reference.matches(reference)
        )


@dataclass(frozen=True, kw_only=True)
class Count:
    """There are exactly `number` objects that answer to `thing` (None: objects of any sort)."""

    number: int
    thing: Thing | None
    background: str | None = None

    def words(self) -> tuple[str, ...]:
        """The statement in words."""
        verb, number = ("is" if self.number == 1 else "are"), COUNTS[self.number - 1]
        if self.thing is None:
            counted: tuple[str, ...] = ("object" if self.number == 1 else "objects",)
        else:
            *adjectives, kind = self.thing.words()
            counted = (*adjectives, kind if self.number == 1 else PLURALS[kind])
        return ("there", verb, number, *counted, *_on(self.background))

    def holds(self, scene: Scene) -> bool:
        """Whether the statement is true of the scene."""
        counted = sum(self.thing is None or self.thing.matches(item) for item in scene.objects)
        return counted == self.number and self.background in (None, scene.background)


@dataclass(frozen=True, kw_only=True)
class Background:
    """The ground that everything lies on."""

    name: str

    def words(self) -> tuple[str, ...]:
        """The statement in words."""
        return ("the", "background", "is", self.name)

    def holds(self, scene: Scene) -> bool:
        """Whether the statement is true of the scene."""
        return scene.background == self.name


Statement = Existence | Placement | Count | Background


def parse_statement(words: Sequence[str]) -> Statement | None:
    """Returns the statement that these words make, None where the grammar has none."""
    for rule in (_background, _count, _placement, _existence):
        statement = rule(tuple(words))
        if statement is not None:
            return statement
    return None


def things_of(statement: Statement) -> Iterator[Thing]:
    """Yields the things that a statement names, in their order."""
    match statement:
        case Existence():
            yield from statement.things
        case Placement():
            yield from (statement.subject, statement.reference)
        case Count() if statement.thing is not None:
            yield statement.thing


def _background(words: tuple[str, ...]) -> Background | None:
    if len(words) == 4 and words[:3] == ("the", "background", "is") and words[3] in BACKGROUNDS:
        return Background(name=words[3])
    return None


def _count(words: tuple[str, ...]) -> Count | None:
    words, background = _without_background(words)
    if len(words) < 4 or words[0] != "there" or words[2] not in COUNTS:
        return None
    number = COUNTS.index(words[2]) + 1
    if words[1] != ("is" if number == 1 else "are"):
        return None
    if words[3:] == ("object" if number == 1 else "objects",):
        return Count(number=number, thing=None, background=background)
    singular = words[-1] if number == 1 else _SINGULARS.get(words[-1])
    thing = _thing((*words[3:-1], singular)) if singular is not None else None
    return Count(number=number, thing=thing, background=background) if thing else None


def _placement(words: tuple[str, ...]) -> Placement | None:
    words, background = _without_background(words)
    at = next((i for i, word in enumerate(words) if word in RELATIONS), None)
    if at is None:
        return None
    rest = words[at + 1 :]
    if words[at] in _WITH_OF:
        if rest[:1] != ("of",):
            return None
        rest = rest[1:]
    subject, reference = _thing_with_article(words[:at]), _thing_with_article(rest)
    if subject is None or reference is None:
        return None
    return Placement(
        subject=subject, relation=words[at], reference=reference, background=background
    )


def _existence(words: tuple[str, ...]) -> Existence | None:
    there_is = words[:2] == ("there", "is")
    words, background = _without_background(words[2:] if there_is else words)
    things: list[Thing] = []
    while True:
        end = words.index("and") if "and" in words else len(words)
        thing = _thing_with_article(words[:end])
        if thing is None:
            return None
        things.append(thing)
        if end == len(words):
            return Existence(things=tuple(things), background=background, there_is=there_is)
        words = words[end + 1 :]


def _thing_with_article(words: tuple[str, ...]) -> Thing | None:
    return _thing(words[1:]) if words[:1] == ("a",) else None


def _thing(words: tuple[str, ...]) -> Thing | None:
    rest = list(words)
    size = rest.pop(0) if rest and rest[0] in SIZES else None
    texture = rest.pop(0) if rest and rest[0] in TEXTURES else None
    if len(rest) != 2 or rest[0] not in COLOURS or rest[1] not in KINDS:
        return None
    return Thing(colour=rest[0], kind=rest[1], size=size, texture=texture)


def _without_background(words: tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
    if len(words) > 2 and words[-2] == "on" and words[-1] in BACKGROUNDS:
        return words[:-2], words[-1]
    return words, None


def _on(background: str | None) -> tuple[str, ...]:
    return () if background is None else ("on", background)


def _assignable(things: Sequence[Thing], objects: Sequence[SceneObject]) -> bool:
    """Whether each thing can have an object of its own."""
    if not things:
        return True
    return any(
        _assignable(things[1:], (*objects[:i], *objects[i + 1 :]))
        for i, item in enumerate(objects)
        if things[0].matches(item)
    )
