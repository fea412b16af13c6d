"""The file of COCO's detection server: a json list of boxes with scores.

An entry is {"image_id": int, "category_id": int, "bbox": [x, y, width, height], "score": float}, in
pixels of the original image and by COCO's own class numbers. The server takes files without a box
of some image, and ranks at most 100 boxes of each.

Source: cocodataset.org, "results format"; cocodataset/cocoapi, loadRes.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from vlp_fast.data.printable import printable
from vlp_fast.data.sources.boxes import four_numbers
from vlp_fast.data.sources.json_files import (
    Entry,
    JsonFile,
    identity,
    number,
    read_json,
    shown,
    table,
)
from vlp_fast.data.submissions.complete import refuse_other_split
from vlp_fast.errors import InputError
from vlp_fast.whole_file import write_whole

SPLITS = ("val", "test", "test-dev")
"""val for one's own tools, the others for the server."""
MOST = 100
"""Boxes of an image."""
PIXELS, DIGITS = 2, 6
"""Decimal places of what is written: of coordinates, and of scores."""


class ScoredBox(NamedTuple):
    """A box of an image.

    Attributes:
        image_id: as the annotation files have it.
        category_id: likewise.
        box: (x, y, width, height) in pixels of the annotated image.
        score: the larger the surer.
    """

    image_id: int
    category_id: int
    box: tuple[float, float, float, float]
    score: float


def write_detections(
    path: Path,
    boxes: Iterable[ScoredBox],
    *,
    split: str,
    image_ids: Collection[int],
    category_ids: Collection[int],
) -> None:
    """Write the file and read it back, whole or not at all.

    Args:
        path: the file.
        boxes: of all images of the split.
        split: what was predicted, one of `SPLITS`.
        image_ids: of all images of the split.
        category_ids: of all classes.

    Raises:
        InputError: if a box is of another image or class, no box, or one too many; or of another
            split.
    """
    check_split(split)
    document = [
        {
            "image_id": found.image_id,
            "category_id": found.category_id,
            "bbox": [round(side, PIXELS) for side in found.box],
            "score": round(found.score, DIGITS),
        }
        for found in boxes
    ]

    def write(partial: Path) -> None:
        partial.write_text(json.dumps(document), encoding="utf-8")
        check_detections(partial, split=split, image_ids=image_ids, category_ids=category_ids)

    write_whole(path, write)


def check_detections(
    path: Path, *, split: str, image_ids: Collection[int], category_ids: Collection[int]
) -> list[ScoredBox]:
    """Read a file as the server does, and more strictly.

    Returns:
        The boxes.

    Raises:
        InputError: if it is not what the server takes.
    """
    check_split(split)
    file, known = read_json(path), {"image_id": set(image_ids), "category_id": set(category_ids)}
    boxes = [_box(entry, file, known, split) for entry in table(file, None)]
    if not boxes:
        raise InputError(
            f"{printable(path)}: holds no box, and the server takes no empty list; predict all "
            f"images of {split}"
        )
    image_id, count = Counter(box.image_id for box in boxes).most_common(1)[0]
    if count > MOST:
        raise InputError(
            f"{printable(path)}: has {count} boxes of image {image_id}, and the server ranks "
            f"{MOST}; write the best {MOST}"
        )
    return boxes


def check_split(split: str) -> None:
    """Refuse a split that nobody scores answers to.

    Raises:
        InputError: naming those that can be handed in.
    """
    refuse_other_split(split, SPLITS, "COCO detection")


def _box(entry: Entry, file: JsonFile, known: Mapping[str, set[int]], split: str) -> ScoredBox:
    ids = {key: identity(entry, key, file) for key in known}
    for key, found in ids.items():
        if found not in known[key]:
            raise _wrong(file, entry, f"'{key}' is {found}, which {split} does not have")
    box, score = four_numbers(entry.get("bbox")), number(entry.get("score"))
    if box is None or min(box[2:]) < 0:
        raise _wrong(file, entry, "'bbox' is not x, y, width and height, finite numbers")
    if score is None or not math.isfinite(score):
        raise _wrong(file, entry, "'score' is no finite number")
    return ScoredBox(box=box, score=float(score), **ids)


def _wrong(file: JsonFile, entry: Entry, what: str) -> InputError:
    where = f"{printable(file.path)}: {printable(shown(entry))}"
    return InputError(f"{where}: {what}; write the answers again")
