"""Documents damaged at random places, as annotation files of strangers are."""

import copy
import random
from typing import Any

JUNK: list[Any] = [
    *(None, True, 0, -1, 1, 2**70, 1.5, -1e308, float("nan"), float("inf"), "", "7", "\ud800"),
    *("x" * 9999, "../../..", "\x00", "a\n\x1b[2J", [], [1], [[]], {}, {"id": 1}, [None] * 4, [{}]),
]


def damaged(document: Any, rng: random.Random) -> Any:
    """Replace, delete or repeat a few values at random places."""
    document = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        place, key = document, None
        while isinstance(place, dict | list) and place:
            key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or rng.random() < 0.15:
                break
            place = inner
        if key is None or not isinstance(place, dict | list):
            continue
        action = rng.random()
        if action < 0.2:
            del place[key]
        elif action < 0.3 and isinstance(place, list):
            place.insert(0, copy.deepcopy(place[key]))
        else:
            place[key] = copy.deepcopy(rng.choice(JUNK))
    return document
