"""Draws random scenes: what is in a picture, how large, and where it finds room.

Scene i of a world is a pure function of (seed, i), so a world of more pictures begins with the same
ones. The words are uniform, but for objects that repeat an earlier one (`_REPEATED`) and, where
there are rings, rings with something in them (`_NESTED`): they give counts and "inside" something
to state.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlp_fast.data.randomness import generator
from vlp_fast.data.world.bounds import WORLD, Bounds, Sides
from vlp_fast.data.world.scene import (
    BACKGROUNDS,
    SIZES,
    Box,
    Clutter,
    Scene,
    SceneObject,
    area,
    hidden_pixels,
    hole,
    relation,
)
from vlp_fast.data.world.shapes import silhouette_size

MAX_OVERLAP = 0.25  # pixels two objects share over the pixels of the smaller one
MARGIN = 2  # pixels between an object and the picture's edge

_REPEATED = 0.18  # probability that an object repeats the kind and colour of an earlier one
_NESTED = 0.12  # probability that a scene starts with a large ring and a small object inside
_APART = 0.6  # probability that an object keeps its distance from all others
_TEXTURE_ODDS = {"solid": 0.6, "striped": 0.2, "dotted": 0.2}
_TRIES = 60  # positions tried for an object before the scene is drawn afresh


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """An object without a place."""

    kind: str
    colour: str
    size: str


def sample_scene(seed: int, index: int, bounds: Bounds = WORLD, *, attempt: int = 0) -> Scene:
    """Returns the scene of picture `index` (from 0) of the world `seed`; its image id is index + 1.

    Another `attempt` is another scene.

    Raises:
        ValueError: an impossible seed or index.
    """
    if not 0 <= seed < 2**63 or index < 0:
        raise ValueError(
            f"sample_scene: received seed {seed} and index {index}, expected 0 <= seed < 2**63 "
            "and index >= 0"
        )
    rng = generator(seed, attempt, index, "scene")
    width, height = bounds.sizes[int(rng.integers(len(bounds.sizes)))]
    count = int(rng.integers(1, bounds.max_objects + 1))
    objects = None
    while objects is None:
        objects = _placed(_plans(count, bounds, rng), width, height, bounds.object_sides, rng)
    marks = round(width * height / 12544 * int(rng.integers(22, 40)))
    return Scene(
        image_id=index + 1,
        width=width,
        height=height,
        background=BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))],
        shade=int(rng.integers(-7, 8)),
        clutter=Clutter(marks=marks, key=int(rng.integers(2**31))),
        objects=objects,
    )


def _plans(count: int, bounds: Bounds, rng: np.random.Generator) -> list[_Plan]:
    plans: list[_Plan] = []
    for _ in range(count):
        plan = _Plan(
            kind=_pick(bounds.kinds, rng),
            colour=_pick(bounds.colours, rng),
            size=_pick(SIZES, rng),
        )
        if plans and rng.random() < _REPEATED:
            earlier = plans[int(rng.integers(len(plans)))]
            plan = replace(plan, kind=earlier.kind, colour=earlier.colour)
        plans.append(plan)
    if count > 1 and rng.random() < _NESTED and "ring" in bounds.kinds:
        plans[0] = replace(plans[0], kind="ring", size="large")
        plans[1] = replace(plans[1], size="small")
    # Large first: they find room while there is room, and small ones lie in front of them.
    return sorted(plans, key=lambda plan: -SIZES.index(plan.size))


def _placed(
    plans: Sequence[_Plan], width: int, height: int, sides: Sides, rng: np.random.Generator
) -> tuple[SceneObject, ...] | None:
    """The objects, or None if one of them found no place."""
    placed: list[SceneObject] = []
    for plan in plans:
        candidate = _place(plan, placed, width, height, sides[plan.size], rng)
        if candidate is None:
            return None
        placed.append(candidate)
    return tuple(placed)


def _place(
    plan: _Plan,
    placed: Sequence[SceneObject],
    width: int,
    height: int,
    sides: tuple[float, float],
    rng: np.random.Generator,
) -> SceneObject | None:
    low, high = (round(share * (width * height) ** 0.5) for share in sides)
    size = silhouette_size(plan.kind, int(rng.integers(low, high + 1)))
    odds = list(_TEXTURE_ODDS.values())
    item = SceneObject(
        kind=plan.kind,
        colour=plan.colour,
        size=plan.size,
        texture=list(_TEXTURE_ODDS)[int(np.searchsorted(np.cumsum(odds), rng.random()))],
        box=(0, 0, *size),
        shade=int(rng.integers(-8, 9)),
    )
    apart = rng.random() < _APART
    nested = _nested(item, low, placed) if plan.size == "small" else None
    if nested is not None and rng.random() < 0.7:
        return nested
    for attempt in range(_TRIES):
        left = int(rng.integers(MARGIN, width - MARGIN - size[0] + 1))
        top = int(rng.integers(MARGIN, height - MARGIN - size[1] + 1))
        item = replace(item, box=(left, top, left + size[0], top + size[1]))
        gap = 2 if apart and attempt < _TRIES // 2 else None
        if _fits(item, placed, gap):
            return item
    return None


def _nested(item: SceneObject, side: int, placed: Sequence[SceneObject]) -> SceneObject | None:
    """The object, `side` pixels, in the middle of an empty large ring; None where there is none."""
    width, height = silhouette_size(item.kind, side)
    for ring in placed:
        left, top, right, bottom = hole(ring)
        x, y = round((left + right - width) / 2), round((top + bottom - height) / 2)
        inside = replace(item, box=(x, y, x + width, y + height))
        if relation(inside, ring) == "inside" and all(
            other is ring or _distance(inside.box, other.box) > 0 for other in placed
        ):
            return inside
    return None


def _fits(item: SceneObject, placed: Sequence[SceneObject], gap: int | None) -> bool:
    """Whether the object keeps `gap` pixels from all, or (gap None) hides little of each."""
    if gap is not None:
        return all(_distance(item.box, other.box) >= gap for other in placed)
    hidden = [hidden_pixels(other, item) for other in placed]
    return all(
        shared <= MAX_OVERLAP * min(area(item), area(other))
        and shared + _hidden_already(placed, i) <= MAX_OVERLAP * area(other)
        for i, (shared, other) in enumerate(zip(hidden, placed, strict=True))
        if shared
    )


def _hidden_already(placed: Sequence[SceneObject], index: int) -> int:
    """Pixels of one object under those in front of it (an upper bound where these overlap)."""
    return sum(hidden_pixels(placed[index], front) for front in placed[index + 1 :])


def _distance(first: Box, second: Box) -> int:
    """Pixels between two boxes along the axis that parts them most; negative if they overlap."""
    return max(
        first[0] - second[2], second[0] - first[2], first[1] - second[3], second[1] - first[3]
    )


def _pick(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]
