"""COCO's twelve numbers: those of pycocotools, and what crowds, areas and ids do to them."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_boxes import CLASSES, PICTURES, drawn, found, no_boxes, objects

from vlp_fast.metrics import coco_protocol
from vlp_fast.metrics.boxes import FoundBoxes, TrueBoxes
from vlp_fast.metrics.coco_protocol import NAMES, coco_numbers
from vlp_fast.metrics.precision_curves import PrecisionCurves

pytest.importorskip("faster_coco_eval")

BOX = (10.0, 10.0, 100.0, 100.0)


def numbers(truth: TrueBoxes, boxes: FoundBoxes, pictures: int = PICTURES) -> dict[str, float]:
    return coco_numbers(truth, boxes, num_pictures=pictures, num_classes=CLASSES)


@pytest.mark.parametrize("cells", [coco_protocol.CELLS, 100])
def test_the_numbers_of_pycocotools(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    """100 images of val2014 with crowds, masks' areas and 734 boxes; pycocotools 2.0.11."""
    monkeypatch.setattr(coco_protocol, "CELLS", cells)  # all classes at once, and one by one
    folder = shared_data / "metrics"
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    boxes = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    stats = json.loads((folder / "pycocotools_fakebbox100_stats.json").read_text())["stats"]
    pictures = sorted(image["id"] for image in truth["images"])
    classes = sorted(category["id"] for category in truth["categories"])
    entries = truth["annotations"]

    def columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
        return {
            "pictures": np.searchsorted(pictures, [row["image_id"] for row in rows]),
            "labels": np.searchsorted(classes, [row["category_id"] for row in rows]),
            "boxes": np.array([row["bbox"] for row in rows], dtype=float),
        }

    areas = np.array([row["area"] for row in entries], dtype=float)
    crowds = np.array([bool(row["iscrowd"]) for row in entries])
    scores = np.array([row["score"] for row in boxes])
    there = TrueBoxes(**columns(entries), areas=areas, is_crowd=crowds)
    guesses = FoundBoxes(**columns(boxes), scores=scores)
    found = coco_numbers(there, guesses, num_pictures=len(pictures), num_classes=len(classes))
    assert tuple(found) == NAMES
    assert list(found.values()) == pytest.approx(stats, abs=1e-9)
    curves = PrecisionCurves(there, guesses, num_pictures=len(pictures))
    assert curves.average_precision() == pytest.approx(stats[0], abs=1e-9)


def library(truth: TrueBoxes, boxes: FoundBoxes) -> list[float]:
    """What faster-coco-eval says of files as people write them."""
    from faster_coco_eval import COCO, COCOeval_faster

    ids = [7 * (number + 3) for number in range(PICTURES)]  # in files, no numbers from 0
    keys = ("image_id", "category_id", "bbox", "area", "iscrowd")
    rows = zip(
        [ids[picture] for picture in truth.pictures],
        (truth.labels + 1).tolist(),
        truth.boxes.tolist(),
        truth.areas.tolist(),
        truth.is_crowd.astype(int).tolist(),
        strict=True,
    )
    dataset = {
        "images": [{"id": number, "width": 300, "height": 300} for number in reversed(ids)],
        "categories": [{"id": number, "name": str(number)} for number in range(1, CLASSES + 1)],
        "annotations": [
            {"id": n, **dict(zip(keys, row, strict=True))} for n, row in enumerate(rows, 50)
        ],
    }
    results = [
        {"image_id": ids[picture], "category_id": label + 1, "bbox": box, "score": score}
        for picture, label, box, score in zip(
            boxes.pictures,
            boxes.labels.tolist(),
            boxes.boxes.tolist(),
            boxes.scores.tolist(),
            strict=True,
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(dataset)
        score = COCOeval_faster(coco, coco.loadRes(results), "bbox")
        score.run()
    return [float(value) for value in score.stats]


@pytest.mark.parametrize("seed", range(3))
def test_the_numbers_are_the_library_s_bit_for_bit(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, boxes = drawn(seed)
    expected = library(truth, boxes)
    assert list(numbers(truth, boxes).values()) == expected
    monkeypatch.setattr(coco_protocol, "CELLS", 2 * PICTURES)  # two classes at once
    assert list(numbers(truth, boxes).values()) == pytest.approx(expected, abs=1e-12)
    assert 0.1 < expected[0] < 0.9


def test_a_crowd_is_no_mistake_and_no_object() -> None:
    """What lies in it counts neither for nor against; without it, it is a mistake."""
    right = found(BOX, (300, 300, 40, 40), (310, 310, 40, 40), scores=(0.5, 0.9, 0.8))
    crowd = objects(BOX, (290, 290, 200, 200), crowd=(False, True))
    assert numbers(crowd, right, 1)["ap"] == pytest.approx(1.0)
    assert numbers(objects(BOX), right, 1)["ap"] == pytest.approx(1 / 3, abs=1e-3)


def test_crowds_alone_are_nothing_to_find() -> None:
    crowd = objects(BOX, crowd=(True,))
    assert set(numbers(crowd, found(BOX, scores=(0.5,)), 1).values()) == {-1.0}


def test_sizes_are_those_of_the_object_not_of_its_box() -> None:
    small = numbers(objects(BOX, area=31**2), found(BOX, scores=(0.5,)), 1)
    assert (small["ap_small"], small["ap_medium"], small["ap_large"]) == (1.0, -1.0, -1.0)
    large = numbers(objects(BOX), found(BOX, scores=(0.5,)), 1)
    assert (large["ap_small"], large["ap_medium"], large["ap_large"]) == (-1.0, -1.0, 1.0)


def test_nothing_found_and_nothing_there() -> None:
    nothing = numbers(objects(BOX), no_boxes(), 3)
    assert (nothing["ap"], nothing["ar_100"], nothing["ap_small"]) == (0.0, 0.0, -1.0)
    assert set(numbers(objects(), found(BOX, scores=(0.5,)), 3).values()) == {-1.0}
    assert set(numbers(objects(), no_boxes(), 0).values()) == {-1.0}


def test_an_object_in_another_picture_counts_as_missed() -> None:
    there = objects(BOX, picture=1)
    assert numbers(there, found(BOX, scores=(0.5,), picture=1), 2)["ap"] == 1.0
    assert numbers(there, found(BOX, scores=(0.5,), picture=0), 2)["ap"] == 0.0


def test_there_are_no_numbers_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_protocol, "find_spec", lambda name: None)
    assert numbers(objects(BOX), found(BOX, scores=(0.5,))) == {}
