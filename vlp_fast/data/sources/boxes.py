"""Annotated boxes made safe: clipped to the image, degenerate ones left out and counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlp_fast.data.sources.json_files import number
from vlp_fast.data.sources.report import DataReport


class BoxTable:
    """Boxes, labels and attributes of images, collected entry by entry.

    Args:
        report: counts what is left out.
        paths: the files that the entries come from, for the remedy.
    """

    def __init__(self, report: DataReport, paths: Sequence[Path]) -> None:
        self._report = report
        self._paths = tuple(paths)
        self._num_annotated = 0
        self._rows: dict[int, list[tuple[float, float, float, float]]] = {}
        self._labels: dict[int, list[int]] = {}
        self._attributes: dict[int, list[int]] = {}

    def add(
        self,
        image_id: int,
        box: Any,
        size: tuple[int, int],
        *,
        label: int,
        attribute: int,
        which: str,
    ) -> None:
        """Clip one box and keep it if something is left.

        Args:
            image_id: the image it belongs to.
            box: as read, expected to be four numbers (x, y, w, h) in pixels.
            size: (width, height) of the image in the same pixels.
            label: its class.
            attribute: its attribute, -1 for none.
            which: names the box in the report.
        """
        self._num_annotated += 1
        corners = self._corners(box, size, which)
        if corners is None:
            return
        self._rows.setdefault(image_id, []).append(corners)
        self._labels.setdefault(image_id, []).append(label)
        self._attributes.setdefault(image_id, []).append(attribute)

    def drop(self, reason: str, which: str) -> None:
        """Count an annotated box that is not even looked at."""
        self._num_annotated += 1
        self._report.count(reason, which)

    def remedy(self) -> str:
        """What to do if no box is left."""
        names = ", ".join(map(str, self._paths))
        if not self._paths:
            return "there is no instance file; add COCO's instances_*.json"
        if not self._num_annotated:
            return f"{names} has none for these images; add the boxes"
        return f"none of the {self._num_annotated} annotated is usable; repair the boxes in {names}"

    def arrays(self, image_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes (n, 4) float32 xyxy, labels (n,) and attributes (n,) int64 of an image."""
        boxes = np.array(self._rows.get(image_id, []), dtype=np.float32).reshape(-1, 4)
        labels = np.array(self._labels.get(image_id, []), dtype=np.int64)
        return boxes, labels, np.array(self._attributes.get(image_id, []), dtype=np.int64)

    def _corners(
        self, box: Any, size: tuple[int, int], which: str
    ) -> tuple[float, float, float, float] | None:
        """Return (x1, y1, x2, y2) inside the image, or None after counting why not."""
        numbers = four_numbers(box)
        if numbers is None:
            self._report.count("boxes that are not four finite numbers dropped", which)
            return None
        (x, y, w, h), (width, height) = numbers, size
        corners = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
        if w <= 0 or h <= 0:
            self._report.count("boxes without extent dropped", which)
            return None
        # Compared as they are stored: in float32 a hair's breadth can vanish.
        x1, y1, x2, y2 = np.array(corners, dtype=np.float32)
        if x2 <= x1 or y2 <= y1:
            self._report.count("boxes outside their image dropped", which)
            return None
        # One pixel of excess is rounding, usual in COCO.
        if min(x, y) < -1 or x + w > width + 1 or y + h > height + 1:
            self._report.count("boxes that reach out of their image clipped", which)
        return corners


def four_numbers(box: Any) -> tuple[float, float, float, float] | None:
    """Return the numbers of a box, also where they are written as text; None if it has not four."""
    values = [number(v) for v in box] if isinstance(box, list | tuple) and len(box) == 4 else [None]
    # NaN is not less than anything.
    known = [float(v) for v in values if v is not None and abs(v) < 1e9]
    return (known[0], known[1], known[2], known[3]) if len(known) == 4 else None
