"""A data set in Visual Genome's layout: pictures of COCO's sizes, drawn, and made-up annotations.

What a step costs depends on how large pictures are, how many boxes they have and how long texts
are, not on what they show. Aspects and text lengths are those of COCO (`coco_mix.py`), the longer
side has COCO's 640 pixels, files are as large as COCO's, and every caption's word is one of BERT's
30,522. Classes and attributes are as many as are usual for Visual Genome.
"""

from __future__ import annotations

import json
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np

from vlp_fast.data.tokenizer import SPECIAL_TOKENS

from ..coco_mix import ASPECTS, TEXT_LENGTHS
from ..photographs import QUALITY, draw_photograph

LONGER = 640
"""Pixels of the longer side of most of COCO's pictures."""
WORDS, CLASSES, ATTRIBUTES = 30522, 1600, 400
CAPTIONS, MOST_BOXES = 5, 30
"""Captions of a picture; boxes are uniform in 1 to so many."""
WITH_ATTRIBUTE = 0.6
"""Share of the boxes."""
FIRST_ID = 66
"""Splits follow from ids: this one is held out, and of those up to 240 no other."""
VOCABULARY = "vocab.txt"


def draw_data(folder: Path, pictures: int, *, longer: int = LONGER, seed: int = 0) -> None:
    """Write so many pictures for training, and a held-out one; the same ones for the same seed.

    Args:
        folder: exists, and is empty.
        pictures: for training, at most a few less than asked for (test and validation).
        longer: pixels of the longer side.
        seed: of everything drawn.
    """
    draw = np.random.default_rng(seed)
    words = [*SPECIAL_TOKENS, *_words(WORDS - len(SPECIAL_TOKENS))]
    names = {"objects": _words(CLASSES), "attributes": _words(ATTRIBUTES)}
    for name, found in (("vocab", words), *((f"{name}_vocab", x) for name, x in names.items())):
        (folder / f"{name}.txt").write_text("".join(f"{word}\n" for word in found))
    (folder / "images").mkdir()
    files: dict[str, list[Any]] = {name: [] for name in _ENTRIES}
    for image_id in range(FIRST_ID, FIRST_ID + 1 + pictures + pictures // 20 + 2):
        aspect = float(draw.choice(ASPECTS))
        height, width = _size(aspect, longer)
        image = draw_photograph(draw, height, width)
        image.save(folder / "images" / f"{image_id}.jpg", quality=QUALITY)
        boxes = [_box(draw, height, width) for _ in range(draw.integers(1, MOST_BOXES + 1))]
        head = {"image_id": image_id, "width": width, "height": height}
        things = [
            {**box, "object_id": 1000 * image_id + number, "names": [_one(draw, names["objects"])]}
            for number, box in enumerate(boxes)
        ]
        files["image_data"].append(head)
        files["objects"].append({"image_id": image_id, "objects": things})
        named = [_attributes(draw, thing, names["attributes"]) for thing in things]
        files["attributes"].append({"image_id": image_id, "attributes": named})
        regions = [{"image_id": image_id, "phrase": _caption(draw, words)} for _ in range(CAPTIONS)]
        files["region_descriptions"].append({"id": image_id, "regions": regions})
    for name, entries in files.items():
        (folder / f"{name}.json").write_text(json.dumps(entries))


_ENTRIES = ("image_data", "objects", "attributes", "region_descriptions")


def _words(count: int) -> list[str]:
    """So many words of four letters."""
    return ["".join(x) for x in islice(product(ascii_lowercase, repeat=4), count)]


def _size(aspect: float, longer: int) -> tuple[int, int]:
    """(height, width) of width / height `aspect`."""
    return (round(longer / aspect), longer) if aspect >= 1 else (longer, round(longer * aspect))


def _box(draw: np.random.Generator, height: int, width: int) -> dict[str, int]:
    """At least eight pixels a side, within the picture."""
    w, h = (int(draw.integers(8, side // 2)) for side in (width, height))
    return {"x": int(draw.integers(width - w)), "y": int(draw.integers(height - h)), "w": w, "h": h}


def _attributes(
    draw: np.random.Generator, thing: dict[str, Any], names: list[str]
) -> dict[str, Any]:
    has_one = draw.random() < WITH_ATTRIBUTE
    return {
        "object_id": thing["object_id"],
        "attributes": [_one(draw, names)] if has_one else [],
    }


def _caption(draw: np.random.Generator, words: list[str]) -> str:
    """With [CLS] and [SEP] as long as captions are."""
    count = int(draw.choice(TEXT_LENGTHS)) - 2
    places = draw.integers(len(SPECIAL_TOKENS), len(words), count)
    return " ".join(words[place] for place in places)


def _one(draw: np.random.Generator, names: list[str]) -> str:
    return names[int(draw.integers(len(names)))]
