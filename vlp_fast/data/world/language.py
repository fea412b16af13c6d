"""Captions of a scene, and the truth of a caption: text in, text out.

Every caption is rendered from a statement that holds, and can be checked without knowing how it
was made: `is_true` parses the text and asks the scene. A caption is one statement of
`statements.py`, of at most 16 words from a vocabulary of 55.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from vlp_fast.data.world.scene import (
    BACKGROUNDS,
    COLOURS,
    RELATIONS,
    SIZES,
    Scene,
    SceneObject,
)
from vlp_fast.data.world.shapes import KINDS, TEXTURES
from vlp_fast.data.world.statements import (
    COUNTS,
    PLURALS,
    Background,
    Count,
    Existence,
    Placement,
    Statement,
    Thing,
    parse_statement,
    things_of,
)

CAPTIONS = 6  # a picture
_WORDS = {
    "kind": (*KINDS, *PLURALS.values()),
    "colour": COLOURS,
    "size": SIZES,
    "count": COUNTS,
    "background": BACKGROUNDS,
    "relation": RELATIONS,
    "texture": TEXTURES,
}
_CATEGORY_OF = {word: category for category, words in _WORDS.items() for word in words}

# What captions are about, and how often; the last three are rare because chance knows them best.
_TEMPLATE_ODDS = {
    "placement": 0.28,
    "pair": 0.20,
    "triple": 0.13,
    "single": 0.21,
    "objects": 0.07,
    "group": 0.06,
    "background": 0.05,
}
_TEMPLATE_LIMITS = np.cumsum(list(_TEMPLATE_ODDS.values()))
_SIZE_SAID = 0.35  # probability that a thing's size is mentioned
_BACKGROUND_SAID = 0.2
_THERE_IS = 0.25


def captions(scene: Scene, rng: np.random.Generator) -> tuple[str, ...]:
    """Returns `CAPTIONS` different true captions of the scene, in random order."""
    texts: dict[str, None] = {}
    while len(texts) < CAPTIONS:
        statement = _random_statement(scene, rng)
        if statement is not None:
            texts[" ".join(statement.words())] = None
    return tuple(texts)


def region_description(item: SceneObject) -> str:
    """Returns everything there is to say about one object, as in "a large striped red circle"."""
    return " ".join(("a", *_thing(item, size=True, texture=True).words()))


@lru_cache(maxsize=65536)
def parse(text: str) -> Statement | None:
    """Returns the statement that a text makes, None where it is not one of the world's language.

    Upper case and a full stop at the end are forgiven.
    """
    return parse_statement(text.lower().strip().removesuffix(".").split())


def is_true(scene: Scene, text: str) -> bool:
    """Returns whether the text says something, and that is true of the scene."""
    statement = parse(text)
    return statement is not None and statement.holds(scene)


def described_objects(text: str) -> list[tuple[str, str]]:
    """Returns the (colour, kind) pairs that a text mentions, in its order; none if unparsable."""
    statement = parse(text)
    if statement is None:
        return []
    return [(thing.colour, thing.kind) for thing in things_of(statement)]


def alternatives(category: str) -> tuple[str, ...]:
    """Returns the words of a category: kind (singular and plural), colour, size, count, background,
    relation, texture.

    Raises:
        ValueError: an unknown category.
    """
    if category not in _WORDS:
        raise ValueError(f"alternatives: received {category!r}, expected one of {tuple(_WORDS)}")
    return _WORDS[category]


def determined_words(scene: Scene, text: str) -> list[tuple[int, str]]:
    """Returns (word index, category) of each word of a true text that only the picture settles.

    Settled: no other word of its category keeps the text true. By the picture: another word would
    keep it grammatical ("one" in "there is one object" follows from "is", not from the picture).
    Of a text that is not true, no word is determined.

    Returns:
        Indices count from 0 in `text.split()`, in ascending order.
    """
    if not is_true(scene, text):
        return []
    words = text.lower().strip().removesuffix(".").split()
    candidates = ((i, _CATEGORY_OF[word]) for i, word in enumerate(words) if word in _CATEGORY_OF)
    return [(i, category) for i, category in candidates if _is_determined(scene, words, i)]


def _is_determined(scene: Scene, words: Sequence[str], index: int) -> bool:
    others = list(_other_statements(words, index))
    return bool(others) and not any(statement.holds(scene) for statement in others)


def _other_statements(words: Sequence[str], index: int) -> Iterator[Statement]:
    """The grammatical statements that differ in this one word, within its category."""
    for word in alternatives(_CATEGORY_OF[words[index]]):
        if word != words[index]:
            statement = parse_statement((*words[:index], word, *words[index + 1 :]))
            if statement is not None:
                yield statement


def _random_statement(scene: Scene, rng: np.random.Generator) -> Statement | None:
    """A true statement of a random template, None if the scene has nothing for the template."""
    limit = rng.random() * _TEMPLATE_LIMITS[-1]
    template = list(_TEMPLATE_ODDS)[int(np.searchsorted(_TEMPLATE_LIMITS, limit, side="right"))]
    background = scene.background if rng.random() < _BACKGROUND_SAID else None
    match template:
        case "placement":
            return _random_placement(scene, rng)
        case "group":
            return _random_group(scene, background, rng)
        case "objects":
            return Count(number=len(scene.objects), thing=None, background=background)
        case "background":
            return Background(name=scene.background)
    number = {"single": 1, "pair": 2, "triple": 3}[template]
    return _random_existence(scene, number, background, rng)


def _random_placement(scene: Scene, rng: np.random.Generator) -> Placement | None:
    """One of the clear relations; "inside" first, which is rare and would drown in the others."""
    found = scene.relations
    inside = tuple(item for item in found if item.name == "inside")
    if inside and rng.random() < 0.5:
        found = inside
    if not found:
        return None
    chosen = found[int(rng.integers(len(found)))]
    # The sizes of nested objects follow from the word "inside" and are left out.
    may_size = chosen.name != "inside"
    subject = _thing(scene.objects[chosen.subject], size=_says_size(rng) and may_size)
    reference = _thing(scene.objects[chosen.reference], size=_says_size(rng) and may_size)
    return Placement(subject=subject, relation=chosen.name, reference=reference)


def _random_group(scene: Scene, background: str | None, rng: np.random.Generator) -> Count | None:
    """How many there are of one colour and kind; one only where there is nothing else."""
    groups: dict[Thing, int] = {}
    for item in scene.objects:
        groups[_thing(item)] = groups.get(_thing(item), 0) + 1
    several = [thing for thing, number in groups.items() if number > 1]
    eligible = several or (list(groups) if len(groups) == 1 else [])
    if not eligible:
        return None
    thing = eligible[int(rng.integers(len(eligible)))]
    return Count(number=groups[thing], thing=thing, background=background)


def _random_existence(
    scene: Scene, number: int, background: str | None, rng: np.random.Generator
) -> Existence | None:
    """Some objects that differ in colour or kind, in random order."""
    distinct: dict[Thing, SceneObject] = {}
    for index in rng.permutation(len(scene.objects)):
        distinct.setdefault(_thing(scene.objects[index]), scene.objects[index])
    if len(distinct) < number:
        return None
    chosen = list(distinct.values())[:number]
    things = tuple(_thing(item, size=_says_size(rng)) for item in chosen)
    there_is = number < 3 and bool(rng.random() < _THERE_IS)
    return Existence(things=things, background=background, there_is=there_is)


def _thing(item: SceneObject, *, size: bool = False, texture: bool = False) -> Thing:
    return Thing(
        colour=item.colour,
        kind=item.kind,
        size=item.size if size else None,
        texture=item.texture if texture else None,
    )


def _says_size(rng: np.random.Generator) -> bool:
    return bool(rng.random() < _SIZE_SAID)
