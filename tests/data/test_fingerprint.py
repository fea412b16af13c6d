"""A digest of a data set changes with whatever is learnt from, and with nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlp_fast.data.fingerprint import difference, fingerprint
from vlp_fast.data.records import Dataset, Record


def record(number: int, **fields: Any) -> Record:
    made = Record(
        image_id=number,
        path=Path("/a/train2017") / f"{number}.jpg",
        width=64,
        height=48,
        captions=("a cat", f"number {number}"),
        boxes=np.full((2, 4), number, dtype=np.float32),
        labels=np.array([1, 2]),
        attributes=np.array([-1, 3]),
    )
    return replace(made, **fields)


def dataset(*records: Record) -> Dataset:
    return Dataset(name="a", records=records, class_names=("x",), attribute_names=())


DATA = dataset(record(1), record(2), record(3))


def changed(**fields: Any) -> Dataset:
    return dataset(record(1), record(2, **fields), record(3))


CHANGES: dict[str, tuple[str, Callable[[], Dataset]]] = {
    "id": ("files", lambda: changed(image_id=9)),
    "file name": ("files", lambda: changed(path=Path("/a/train2017/9.jpg"))),
    "width": ("files", lambda: changed(width=65)),
    "height": ("files", lambda: changed(height=65)),
    "caption": ("captions", lambda: changed(captions=("a cat", "number 9"))),
    "order of captions": ("captions", lambda: changed(captions=("number 2", "a cat"))),
    "a caption more": ("captions", lambda: changed(captions=("a cat", "number 2", "a"))),
    "captions joined": ("captions", lambda: changed(captions=("a cat number 2",))),
    "box": ("boxes", lambda: changed(boxes=np.full((2, 4), 7, dtype=np.float32))),
    "class": ("boxes", lambda: changed(labels=np.array([2, 2]))),
    "attribute": ("boxes", lambda: changed(attributes=np.array([-1, 4]))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_seen_and_named(change: str) -> None:
    part, make = CHANGES[change]
    before, now = fingerprint(DATA), fingerprint(make())
    assert {name for name in before if before[name] != now[name]} == {part}
    said = difference(before, now)
    assert said is not None
    assert said.startswith("has 3 images as it had then, with other ")
    words = {"files": "image files", "captions": "captions", "boxes": "boxes"}
    assert [word in said for word in words.values()] == [part == name for name in words]


def test_the_same_data_in_another_folder_are_the_same() -> None:
    moved = [replace(r, path=Path("/b/images") / r.path.name) for r in DATA.records]
    assert difference(fingerprint(DATA), fingerprint(dataset(*moved))) is None


def test_the_order_of_records_counts() -> None:
    turned = fingerprint(dataset(*DATA.records[::-1]))
    said = difference(fingerprint(DATA), turned)
    assert said is not None
    assert all(word in said for word in ("image files", "captions", "boxes"))


def test_a_caption_that_moves_to_the_next_image_is_seen() -> None:
    before = dataset(record(1, captions=("a", "b")), record(2, captions=("c",)))
    now = dataset(record(1, captions=("a",)), record(2, captions=("b", "c")))
    assert fingerprint(before)["captions"] != fingerprint(now)["captions"]


def test_numbers_of_images_are_named() -> None:
    now = fingerprint(dataset(*DATA.records[:2]))
    assert difference(fingerprint(DATA), now) == "had 3 images then and has 2 now"
    assert difference(None, now) == "had other images then and has 2 now"
    assert difference({"images": 2}, now) is not None
    assert difference([1], now) is not None


def test_odd_texts_have_a_digest() -> None:
    fingerprint(changed(captions=("\udc80",), path=Path("/a/\udcff.jpg")))
