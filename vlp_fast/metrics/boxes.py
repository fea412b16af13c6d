"""Boxes of many pictures, end to end in arrays: what there is, and what was found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class TrueBoxes:
    """Annotated objects, g in all, those of a picture in the order of their file.

    Attributes:
        pictures: (g,) int64, number of the picture, from 0.
        labels: (g,) int64, classes from 0.
        boxes: (g, 4) float64, (x, y, width, height) in pixels.
        areas: (g,) float64, of the objects, in pixels.
        is_crowd: (g,) bool, regions where nothing counts.
    """

    pictures: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    is_crowd: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundBoxes:
    """Boxes that a model finds, d in all.

    Attributes:
        pictures: (d,) int64, number of the picture, from 0.
        labels: (d,) int64, classes from 0.
        boxes: (d, 4) float64, (x, y, width, height) in pixels.
        scores: (d,) float, the larger the surer.
    """

    pictures: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
