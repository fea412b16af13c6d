"""Whether attention tells where a thing is: its share inside the thing's box, and the box's area.

The control is as important as the figure: other words of the same text may look there just as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlp_fast.data.examples import Example
from vlp_fast.inference.predictor import Predictor
from vlp_fast.inference.results import ObjectAttention, TextAttention
from vlp_fast.viz.looked import corners_of, opened

FINE = 16
"""Places of a cell along each side, that are in a box or not."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Inside:
    """What was measured over some words or queries.

    Attributes:
        count: of these.
        inside: (A, N) mean share inside of the box, of what is looked at in the picture.
        area: mean share of the picture that the boxes cover.
        others: (A, N) mean share that other words of the text have inside of the same boxes; None
            where there are no words.
        on_picture: (A, N) mean share of the attention that is on the picture at all.
    """

    count: int
    inside: np.ndarray
    area: float
    others: np.ndarray | None
    on_picture: np.ndarray


def covered(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w): how much of each cell lies in one of some boxes, in [0, 1].

    Args:
        corners: (n, 4), (x1, y1, x2, y2) in [0, 1] of the picture.
        size: (h, w), in cells that cover the picture evenly.
    """
    height, width = size
    y = (np.arange(height * FINE) + 0.5)[:, None] / (height * FINE)
    x = (np.arange(width * FINE) + 0.5) / (width * FINE)
    is_in = np.zeros((height * FINE, width * FINE), bool)
    for x1, y1, x2, y2 in corners:
        is_in |= (x1 <= x) & (x < x2) & (y1 <= y) & (y < y2)
    parts: np.ndarray = is_in.reshape(height, FINE, width, FINE).mean((1, 3))
    return parts


def share_inside(weights: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(...) share of weights (..., h, w) that falls into boxes; NaN where there is no weight."""
    wide = weights.astype(np.float64)
    in_boxes = (wide * covered(corners, weights.shape[-2:])).sum((-1, -2))
    with np.errstate(invalid="ignore"):
        share: np.ndarray = in_boxes / wide.sum((-1, -2))
    return share


def named_words(
    words: Sequence[str], example: Example, names: Sequence[str]
) -> list[tuple[int, np.ndarray]]:
    """Places of words that name an annotated class, also in its plural, and the boxes of that.

    A name of several words is left out.
    """
    labels, corners = example.labels.numpy(), corners_of(example)
    forms = {form: n for n in set(labels.tolist()) for form in (names[n], f"{names[n]}s")}
    return [
        (place, corners[labels == forms[word]]) for place, word in enumerate(words) if word in forms
    ]


def words_inside(
    model: Predictor, texts: Sequence[tuple[Example, str]], names: Sequence[str]
) -> Inside | None:
    """Over words of texts that name what their picture is annotated with; None without any.

    Args:
        model: that reads them.
        texts: pictures with texts.
        names: of the classes.
    """
    own, control, areas, seen = [], [], [], []
    for example, text in texts:
        look = model.attention(opened(example), text)
        assert isinstance(look, TextAttention)
        found = named_words(look.words, example, names)
        rest = _others(look.words, [place for place, _ in found])
        for place, corners in found:
            own.append(share_inside(look.weights[:, :, place], corners))
            if rest:
                control.append(share_inside(look.weights[:, :, rest], corners).mean(-1))
            areas.append(covered(corners, look.weights.shape[-2:]).mean())
            seen.append(look.weights[:, :, place].sum((-1, -2)))
    return _means(own, areas, seen, control)


def queries_inside(
    model: Predictor, pictures: Sequence[tuple[Example, str | None]], threshold: float
) -> Inside | None:
    """Over the queries that found an object: its own box, not the truth's; None if none did."""
    own, areas, seen = [], [], []
    for example, text in pictures:
        look = model.object_attention(opened(example), text, threshold=threshold)
        assert isinstance(look, ObjectAttention)
        height, width = example.size
        for place, box in enumerate(look.objects.boxes / np.array([width, height] * 2)):
            own.append(share_inside(look.weights[:, :, place], box[None]))
            areas.append(covered(box[None], look.weights.shape[-2:]).mean())
            seen.append(look.weights[:, :, place].sum((-1, -2)))
    return _means(own, areas, seen)


def _means(
    own: list[np.ndarray],
    areas: list[float],
    seen: list[np.ndarray],
    others: list[np.ndarray] | None = None,
) -> Inside | None:
    if not own:
        return None
    return Inside(
        count=len(own),
        inside=np.nanmean(own, axis=0),
        area=float(np.mean(areas)),
        others=np.nanmean(others, axis=0) if others else None,
        on_picture=np.mean(seen, axis=0),
    )


def _others(words: Sequence[str], named: Sequence[int]) -> list[int]:
    """Words that name nothing, [CLS] and [SEP] left out."""
    return [n for n in range(1, len(words) - 1) if n not in named]
