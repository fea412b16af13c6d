"""Damaged annotations give a data set or one `InputError`, never another exception."""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlp_fast.data.records import Dataset
from vlp_fast.data.sources import load_dataset
from vlp_fast.errors import InputError

JUNK: list[Any] = [
    *(None, True, 0, -1, 1, 2**70, 1.5, -1e308, float("nan"), float("inf"), "", "7", "\ud800"),
    *("x" * 9999, "../../..", "\x00", [], [1], [[]], {}, {"id": 1}, [None] * 4, [{}]),
]


def damaged(document: Any, rng: random.Random) -> Any:
    """Replace, delete or repeat a few values at random places."""
    document = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        place, key = document, None
        while isinstance(place, dict | list) and place:
            key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or rng.random() < 0.15:
                break
            place = inner
        if key is None or not isinstance(place, dict | list):
            continue
        action = rng.random()
        if action < 0.2:
            del place[key]
        elif action < 0.3 and isinstance(place, list):
            place.insert(0, copy.deepcopy(place[key]))
        else:
            place[key] = copy.deepcopy(rng.choice(JUNK))
    return document


def check(dataset: Dataset) -> None:
    for record in dataset.records:
        assert record.captions
        assert all(caption.strip() for caption in record.captions)
        "".join(record.captions).encode()
        assert record.width > 0
        assert record.height > 0
        assert len(record.boxes) == len(record.labels) == len(record.attributes)
        assert np.isfinite(record.boxes).all()
        assert (record.boxes >= 0).all()
        assert (record.boxes[:, 2:] > record.boxes[:, :2]).all()
        assert (record.boxes[:, 2:] <= [record.width, record.height]).all()
        assert (record.labels >= 0).all()
        assert (record.labels < max(1, len(dataset.class_names))).all()
        assert record.path.is_file()


def fuzz(path: Path, load: Callable[[], Dataset], seed: int) -> int:
    """Damage one file many times; return how often it was still a data set."""
    clean = json.loads(path.read_text())
    rng, survived = random.Random(seed), 0
    for _ in range(150):
        path.write_text(json.dumps(damaged(clean, rng)))
        try:
            check(load())
            survived += 1
        except InputError as error:
            assert str(error)
            assert "\n" not in str(error)
            str(error).encode()
    path.write_text(json.dumps(clean))
    return survived


@pytest.mark.parametrize("name", ["captions_train2017.json", "instances_train2017.json"])
def test_damaged_coco(coco_folder: Path, name: str) -> None:
    path = coco_folder / "annotations" / name
    survived = fuzz(path, lambda: load_dataset(coco_folder, "train", missing_images="drop"), 1)
    assert 5 < survived < 150


def test_damaged_karpathy(coco_folder: Path, write_json: Callable[[Path, Any], Path]) -> None:
    images = [
        {
            "filepath": "train2017",
            "filename": f"{i:012d}.png",
            "cocoid": i,
            "split": "train",
            "sentences": [{"raw": "some text"}],
        }
        for i in range(1, 6)
    ]
    path = write_json(coco_folder / "dataset_coco.json", {"images": images})
    survived = fuzz(path, lambda: load_dataset(coco_folder, "train", missing_images="drop"), 2)
    assert 5 < survived < 150


@pytest.mark.parametrize("name", ["image_data", "objects", "attributes", "region_descriptions"])
def test_damaged_visual_genome(
    tmp_path: Path,
    name: str,
    write_json: Callable[[Path, Any], Path],
    write_image: Callable[..., Path],
) -> None:
    box = {"x": 2, "y": 1, "w": 4, "h": 5, "names": ["cat"]}
    for i in (1, 2, 3):
        write_image(tmp_path / "VG_100K" / f"{i}.jpg")
    documents: dict[str, list[Any]] = {
        "image_data": [
            {"image_id": i, "url": f"h/VG_100K/{i}.jpg", "width": 20, "height": 10}
            for i in (1, 2, 3)
        ],
        "objects": [
            {"image_id": i, "objects": [{**box, "object_id": i, "merged_object_ids": [9]}]}
            for i in (1, 2, 3)
        ],
        "attributes": [
            {"image_id": i, "attributes": [{"object_id": i, "attributes": ["big"]}]}
            for i in (1, 2, 3)
        ],
        "region_descriptions": [
            {"regions": [{"region_id": i, "image_id": i, "phrase": "a cat"}]} for i in (1, 2, 3)
        ],
    }
    for key, document in documents.items():
        write_json(tmp_path / f"{key}.json", document)
    (tmp_path / "objects_vocab.txt").write_text("cat\n")
    (tmp_path / "attributes_vocab.txt").write_text("big\n")
    path = tmp_path / f"{name}.json"
    survived = fuzz(path, lambda: load_dataset(tmp_path, "train", missing_images="drop"), 3)
    assert 5 < survived < 150
