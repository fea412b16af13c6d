"""COCO's results of detection: written, and read back as strictly as a server should."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.data.submissions.coco_detection import (
    ScoredBox,
    check_detections,
    check_split,
    write_detections,
)
from vlp_fast.errors import InputError

IMAGES, CATEGORIES = [7, 139], [1, 90]
ENTRY = {"image_id": 139, "category_id": 90, "bbox": [1, 2.5, 3, 0], "score": 0.25}


def write(path: Path, *boxes: ScoredBox, split: str = "test-dev") -> None:
    write_detections(path, boxes, split=split, image_ids=IMAGES, category_ids=CATEGORIES)


def read(path: Path) -> list[ScoredBox]:
    return check_detections(path, split="val", image_ids=IMAGES, category_ids=CATEGORIES)


def test_what_is_written_is_what_coco_s_tools_read(tmp_path: Path) -> None:
    boxes = [
        ScoredBox(139, 1, (1.23456, 2.0, 30.0, 40.0), 0.123456789),
        ScoredBox(7, 90, (0, 0, 1, 1), 1e-9),
    ]
    write(tmp_path / "out.json", *boxes)
    assert json.loads((tmp_path / "out.json").read_text()) == [
        {"image_id": 139, "category_id": 1, "bbox": [1.23, 2, 30, 40], "score": 0.123457},
        {"image_id": 7, "category_id": 90, "bbox": [0, 0, 1, 1], "score": 0},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    assert read(tmp_path / "out.json")[0].box == (1.23, 2, 30, 40)
    coco = pytest.importorskip("faster_coco_eval").COCO(
        {
            "images": [{"id": i} for i in IMAGES],
            "categories": [{"id": 1}, {"id": 90}],
            "annotations": [],
        }
    )
    assert len(coco.loadRes(str(tmp_path / "out.json")).anns) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_id": 8}, "'image_id' is 8, which val does not have"),
        ({"category_id": 2}, "'category_id' is 2, which val does not have"),
        ({"image_id": "x"}, "'image_id' is \"x\""),
        ({"bbox": [1, 2, 3]}, "'bbox' is not x, y, width and height"),
        ({"bbox": [1, 2, -3, 4]}, "'bbox' is not x, y, width and height"),
        ({"bbox": [1, 2, float("nan"), 4]}, "'bbox' is not x, y, width and height"),
        ({"bbox": None}, "'bbox' is not x, y, width and height"),
        ({"score": float("inf")}, "'score' is no finite number"),
        ({"score": None}, "'score' is no finite number"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "out.json"
    path.write_text(json.dumps([ENTRY, ENTRY | change]))
    with pytest.raises(InputError) as caught:
        read(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{}", "[1]", "", "[", '"x"'])
def test_what_is_no_list_of_boxes(tmp_path: Path, content: str) -> None:
    (tmp_path / "out.json").write_text(content)
    with pytest.raises(InputError):
        read(tmp_path / "out.json")


def test_an_empty_list_and_more_than_a_hundred_boxes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("[]")
    with pytest.raises(InputError, match="holds no box, and the server takes no empty list"):
        read(path)
    path.write_text(json.dumps([ENTRY] * 100))
    assert len(read(path)) == 100
    path.write_text(json.dumps([ENTRY] * 101))
    with pytest.raises(InputError, match="has 101 boxes of image 139, and the server ranks 100"):
        read(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ScoredBox(139, 1, (0.0, 0.0, float("nan"), 1.0), 0.5),
        lambda: ScoredBox(139, 3, (0.0, 0.0, 1.0, 1.0), 0.5),
    ],
)
def test_a_file_that_is_refused_is_not_left(tmp_path: Path, make: Callable[[], ScoredBox]) -> None:
    path = tmp_path / "out.json"
    path.write_text("what was there")
    with pytest.raises(InputError):
        write(path, make())
    assert path.read_text() == "what was there"
    assert [file.name for file in tmp_path.iterdir()] == ["out.json"]


def test_splits_that_somebody_scores(tmp_path: Path) -> None:
    for split in ("val", "test", "test-dev"):
        check_split(split)
    with pytest.raises(InputError, match="split 'train' of COCO detection"):
        write(tmp_path / "out.json", ScoredBox(7, 1, (0, 0, 1, 1), 0.5), split="train")
