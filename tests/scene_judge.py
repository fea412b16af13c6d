"""Judges what is said of drawn pictures by their objects alone, as `world.json` has them.

Written against the objects, with words and geometry of its own: nothing here calls what made the
sentences.
"""

import re
from collections.abc import Callable
from itertools import product
from typing import Any

Scene = dict[str, Any]
Item = dict[str, Any]

KINDS = ["circle", "square", "triangle", "star", "heart", "cross", "moon", "ring"]
PLURALS = {"crosses": "cross", **{f"{kind}s": kind for kind in KINDS if kind != "cross"}}
SIZES = ["small", "medium", "large"]
COLOURS = ["red", "green", "blue", "yellow", "purple", "cyan", "pink", "black"]
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight"]
PLACES = ["left of", "right of", "above", "below", "inside"]


def those(scene: Scene, words: str) -> list[Item]:
    """The objects that "large red circles", "objects" or "blue object" means."""
    return [item for item in scene["objects"] if is_one(item, words)]


def is_one(item: Item, words: str) -> bool:
    """Whether an object answers to a description, or to a predicate as "red" or "a star"."""
    for word in words.split():
        word = PLURALS.get(word, word)
        if word in ("a", "object", "objects"):
            continue
        assert word in (*KINDS, *SIZES, *COLOURS), words
        if word not in (item["kind"], item["size"], item["colour"]):
            return False
    return True


def place(subject: Item, reference: Item) -> str | None:
    """Where one stands seen from the other, None where nobody would say."""
    a, b = subject["box"], reference["box"]
    if reference["kind"] == "ring" and a[0] > b[0] and a[1] > b[1] and a[2] < b[2] and a[3] < b[3]:
        return "inside"
    across, down = (a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2
    if abs(across) >= 1.5 * abs(down) and (a[2] <= b[0] or b[2] <= a[0]):
        return "left of" if across < 0 else "right of"
    if abs(down) >= 1.5 * abs(across) and (a[3] <= b[1] or b[3] <= a[1]):
        return "above" if down < 0 else "below"
    return None


def stands(scene: Scene, subject: str, name: str, reference: str) -> bool:
    """Whether one of a group stands so to another; the picture must be plain about it."""
    places = [
        place(a, b)
        for a, b in product(those(scene, subject), those(scene, reference))
        if a is not b
    ]
    assert name in places or None not in places
    return name in places


def answer(scene: Scene, question: str) -> str:
    """The right answer; fails where the question supposes what is not so."""
    for pattern, rule in _QUESTIONS.items():
        match = re.fullmatch(pattern, question)
        if match:
            return rule(scene, *match.groups())
    raise AssertionError(question)


def shows(scene: Scene, phrase: str) -> bool:
    """Whether a picture shows "a red circle", "exactly two stars", "a moon left of a ring"."""
    placed = re.fullmatch(rf"a (.+) ({'|'.join(PLACES)}) a (.+)", phrase)
    if placed:
        return stands(scene, *placed.groups())
    counted = re.fullmatch(r"exactly (\w+) (.+)", phrase)
    if counted:
        return len(those(scene, counted[2])) == NUMBERS.index(counted[1])
    assert phrase.startswith("a ")
    return bool(those(scene, phrase))


def claim(left: Scene, right: Scene, sentence: str) -> bool:
    """Whether a sentence is true of a left and a right picture."""
    for pattern, rule in _CLAIMS.items():
        match = re.fullmatch(pattern, sentence)
        if match:
            return rule(left, right, *match.groups())
    raise AssertionError(sentence)


def hypothesis(scene: Scene, sentence: str) -> str:
    """The class of a hypothesis: whether it holds in all, some or none of what may be hidden."""
    superlative = re.fullmatch(r"The \w+est (.+) is (not )?(.+)\.", sentence)
    if superlative:
        group, negated, words = superlative.groups()
        outcomes = {is_one(item, words) != bool(negated) for item in those(scene, group)}
    else:
        either = re.fullmatch(
            r"There is a (.+) or an? (?:heavy|old|new|soft|warm|cheap) (.+)\.", sentence
        )
        assert either, sentence
        first, other = (bool(those(scene, words)) for words in either.groups())
        outcomes = {first or (other and is_so) for is_so in (False, True)}
    assert outcomes, "says something of what is not there"
    return (
        "neutral" if len(outcomes) == 2 else "entailment" if True in outcomes else "contradiction"
    )


def _only(scene: Scene, words: str) -> Item:
    (item,) = those(scene, words)
    return item


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _relation(scene: Scene, subject: str, name: str, reference: str) -> str:
    _only(scene, subject), _only(scene, reference)
    return _yes(stands(scene, subject, name, reference))


def _larger(scene: Scene, first: str, second: str) -> str:
    sizes = {words: SIZES.index(_only(scene, words)["size"]) for words in (first, second)}
    assert sizes[first] != sizes[second]
    return max(sizes, key=lambda words: sizes[words])


_QUESTIONS: dict[str, Callable[..., str]] = {
    r"Is there a (.+)\?": lambda scene, a: _yes(bool(those(scene, a))),
    r"How many (.+) are there\?": lambda scene, a: str(len(those(scene, a))),
    r"What color is the (.+)\?": lambda scene, a: str(_only(scene, a)["colour"]),
    r"What shape is the (.+)\?": lambda scene, a: str(_only(scene, a)["kind"]),
    r"What size is the (.+)\?": lambda scene, a: str(_only(scene, a)["size"]),
    rf"Is the (.+) ({'|'.join(PLACES)}) the (.+)\?": _relation,
    r"Are there more (.+) than (.+)\?": lambda scene, a, b: _yes(
        len(those(scene, a)) > len(those(scene, b))
    ),
    r"Which is larger, the (.+) or the (.+)\?": _larger,
    r"What is in the background\?": lambda scene: str(scene["background"]),
}
_CLAIMS: dict[str, Callable[..., bool]] = {
    r"The left image shows more (.+) than the right image\.": lambda left, right, a: (
        len(those(left, a)) > len(those(right, a))
    ),
    r"The right image shows more (.+) than the left image\.": lambda left, right, a: (
        len(those(right, a)) > len(those(left, a))
    ),
    r"Both images show the same number of (.+)\.": lambda left, right, a: (
        len(those(left, a)) == len(those(right, a))
    ),
    r"The background is the same in both images\.": lambda left, right: (
        left["background"] == right["background"]
    ),
    r"The two images have different backgrounds\.": lambda left, right: (
        left["background"] != right["background"]
    ),
    r"The left image shows (.+)\.": lambda left, _, a: shows(left, a),
    r"The right image shows (.+)\.": lambda _, right, a: shows(right, a),
    r"Exactly one image shows (.+)\.": lambda left, right, a: shows(left, a) != shows(right, a),
    r"Both images show (.+)\.": lambda left, right, a: shows(left, a) and shows(right, a),
    r"At least one image shows (.+)\.": lambda left, right, a: shows(left, a) or shows(right, a),
}
