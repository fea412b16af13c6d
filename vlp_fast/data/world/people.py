"""Ten people answer a question: most say what is right, some say it otherwise, some are wrong."""

import numpy as np

from vlp_fast.data.world.scene import MAX_OBJECTS, SIZES
from vlp_fast.data.world.statements import COUNTS

PEOPLE = 10
_DISSENT = np.cumsum((0.45, 0.25, 0.15, 0.10))
"""Up to where 0, 1, ... of the ten do not say the right word, else four: the others stay more."""
_SURENESS = ("yes", "maybe", "no")
_SURE = {True: (0.9, 0.98), False: (0.5, 0.85)}  # up to where who is right, or not, says yes, maybe
_OTHERWISE = {
    "yes": ("no",),
    "no": ("yes",),
    "red": ("dark red", "orange"),
    "green": ("dark green", "grass green"),
    "blue": ("dark blue", "navy"),
    "yellow": ("gold", "orange"),
    "purple": ("violet", "pink"),
    "cyan": ("turquoise", "light blue"),
    "pink": ("magenta", "hot pink"),
    "black": ("dark gray", "gray"),
    "circle": ("round", "dot", "ball"),
    "square": ("box", "rectangle"),
    "triangle": ("pyramid", "arrow"),
    "star": ("a star", "asterisk"),
    "heart": ("love", "a heart"),
    "cross": ("plus", "plus sign", "x"),
    "moon": ("crescent", "half moon"),
    "ring": ("donut", "circle"),
    "grass": ("green", "field"),
    "sand": ("beach", "desert"),
    "snow": ("white", "ice"),
    "water": ("blue", "ocean", "sea"),
}


def ten_answers(answer: str, rng: np.random.Generator) -> list[dict[str, str | int]]:
    """Returns VQA's `answers` of a question: at least six of the ten say `answer`."""
    dissenting = int(np.searchsorted(_DISSENT, rng.random(), side="right"))
    others = otherwise(answer)
    said = [answer] * (PEOPLE - dissenting)
    said += [others[int(i)] for i in rng.integers(len(others), size=dissenting)]
    order, sureness = rng.permutation(PEOPLE).tolist(), rng.random(PEOPLE).tolist()
    return [
        {"answer": said[i], "answer_confidence": _sure(said[i] == answer, draw), "answer_id": n}
        for n, (i, draw) in enumerate(zip(order, sureness, strict=True), start=1)
    ]


def otherwise(answer: str) -> tuple[str, ...]:
    """Returns what else people say where `answer` is right: other words, or what is close."""
    if answer.isdecimal():
        number = int(answer)
        near = [str(n) for n in (number - 1, number + 1) if 0 <= n <= MAX_OBJECTS]
        return (*near, COUNTS[number - 1] if number else "none")
    if answer in SIZES:
        place = SIZES.index(answer)
        return SIZES[max(0, place - 1) : place] + SIZES[place + 1 : place + 2]
    return _OTHERWISE[answer]


def _sure(is_right: bool, draw: float) -> str:
    return _SURENESS[sum(draw >= limit for limit in _SURE[is_right])]
