"""Objects and boxes at random: crowds, ties, pictures with nothing, boxes that are a bit off."""

import numpy as np

from vlp_fast.metrics.boxes import FoundBoxes, TrueBoxes

PICTURES, CLASSES = 30, 5


def drawn(seed: int, *, crowds: float = 0.15, ties: bool = True) -> tuple[TrueBoxes, FoundBoxes]:
    """Some boxes are near an object of their class, others anywhere; areas are less than boxes."""
    draw = np.random.default_rng(seed)
    counts = draw.integers(0, 7, PICTURES)
    pictures = np.repeat(np.arange(PICTURES), counts)
    labels = draw.integers(0, CLASSES - 1, len(pictures))  # the last class has no object
    boxes = random_boxes(draw, len(pictures))
    truth = TrueBoxes(
        pictures=pictures,
        labels=labels,
        boxes=boxes,
        areas=boxes[:, 2] * boxes[:, 3] * draw.uniform(0.3, 1, len(boxes)),
        is_crowd=draw.random(len(boxes)) < crowds,
    )
    near = draw.integers(0, len(boxes), 90)
    shifted = boxes[near] + draw.normal(0, 4, (90, 4))
    shifted[:, 2:] = shifted[:, 2:].clip(1)
    scores = draw.random(150)
    return truth, FoundBoxes(
        pictures=np.concatenate([pictures[near], draw.integers(0, PICTURES, 60)]),
        labels=np.concatenate([labels[near], draw.integers(0, CLASSES, 60)]),
        boxes=np.concatenate([shifted, random_boxes(draw, 60)]),
        scores=np.round(scores, 1) if ties else scores,
    )


def random_boxes(draw: np.random.Generator, count: int) -> np.ndarray:
    """From 5 to 200 pixels a side: small, medium and large ones."""
    return np.concatenate([draw.uniform(0, 100, (count, 2)), draw.uniform(5, 200, (count, 2))], 1)


def no_boxes() -> FoundBoxes:
    """Nothing was found anywhere."""
    none = np.zeros(0, dtype=np.int64)
    return FoundBoxes(pictures=none, labels=none, boxes=np.zeros((0, 4)), scores=np.zeros(0))


def objects(
    *boxes: tuple[float, float, float, float],
    picture: int = 0,
    label: int = 0,
    area: float | None = None,
    crowd: tuple[bool, ...] = (),
) -> TrueBoxes:
    """Objects of one class in one picture."""
    sides = np.array(boxes, dtype=float).reshape(-1, 4)
    count = len(sides)
    return TrueBoxes(
        pictures=np.full(count, picture),
        labels=np.full(count, label),
        boxes=sides,
        areas=sides[:, 2] * sides[:, 3] if area is None else np.full(count, float(area)),
        is_crowd=np.array(crowd or [False] * count, dtype=bool),
    )


def found(
    *boxes: tuple[float, float, float, float],
    scores: tuple[float, ...],
    label: int = 0,
    picture: int = 0,
) -> FoundBoxes:
    """Boxes of one class in one picture."""
    return FoundBoxes(
        pictures=np.full(len(boxes), picture),
        labels=np.full(len(boxes), label),
        boxes=np.array(boxes, dtype=float).reshape(-1, 4),
        scores=np.array(scores),
    )
