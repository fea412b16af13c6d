"""What models see in a picture, unasked: objects, a caption, the codes of a dictionary."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from vlp_fast.demo.models import Named, names
from vlp_fast.demo.pictures import data_url, picture_of, with_boxes, with_codes
from vlp_fast.demo.shown import by_model, figure, said, text
from vlp_fast.inference.predictor import Predictor
from vlp_fast.inference.results import Objects

SEEING = ("detect", "caption", "codes")
"""Abilities that need no words."""


def sees(models: Sequence[Named]) -> bool:
    """Whether any of them says something unasked."""
    return any(_has(one, ability) for one in models for ability in SEEING)


def see_picture(models: Sequence[Named], pixels: Tensor, threshold: float) -> str:
    """Show a picture to models.

    Args:
        models: those that have not learnt to say anything unasked are passed over.
        pixels: (3, H, W) uint8.
        threshold: of the probability of objects.

    Returns:
        HTML.
    """
    results = []
    for one in models:
        parts = [see(one.model, pixels, threshold) for name, see in _SEE.items() if _has(one, name)]
        if parts:
            results.append((one.name, "".join(parts)))
    return by_model(results)


def _has(one: Named, ability: str) -> bool:
    return ability in one.model.abilities


def _caption(model: Predictor, pixels: Tensor, _: float) -> str:
    return said(str(model.caption(pixels)))


def _objects(model: Predictor, pixels: Tensor, threshold: float) -> str:
    found = model.detect(pixels, threshold=threshold)
    assert isinstance(found, Objects)
    called, scores = names(found), found.scores.tolist()
    height, width = pixels.shape[1:]
    boxes = found.boxes / np.array([width, height, width, height], np.float32)
    drawn = with_boxes(picture_of(pixels), boxes, called, scores)
    count = f"{len(called)} object{'' if len(called) == 1 else 's'}"
    listed = f"{count}: {', '.join(called)}" if called else f"no object above {threshold:.2f}"
    return figure(data_url(drawn), f"The picture with {listed}", text(listed))


def _codes(model: Predictor, pixels: Tensor, _: float) -> str:
    codes = model.codes(pixels)
    assert isinstance(codes, np.ndarray)
    number: int = getattr(model.trained.about.model, "num_codes")  # noqa: B009 of a SOHO
    used = len(np.unique(codes))
    cells = f"{codes.shape[1]} x {codes.shape[0]} cells"
    listed = f"{cells}, {used} of the dictionary's {number:,} codes"
    drawn = with_codes(picture_of(pixels), codes)
    return figure(data_url(drawn), f"The picture's codes: {listed}", text(listed))


_SEE: dict[str, Callable[[Predictor, Tensor, float], str]] = {
    "detect": _objects,
    "codes": _codes,
    "caption": _caption,
}
