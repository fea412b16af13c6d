"""Damaged annotations give a data set or one printable `InputError`, never another exception."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import damaged

from vlp_fast.data.records import Dataset
from vlp_fast.data.sources import load_dataset
from vlp_fast.data.world import make_world
from vlp_fast.data.world.bounds import Bounds
from vlp_fast.errors import InputError


def check(dataset: Dataset) -> None:
    assert all(note.isprintable() for note in dataset.notes)
    for record in dataset.records:
        assert -(2**63) <= record.image_id < 2**63
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
            assert str(error).isprintable()
    path.write_text(json.dumps(clean))
    return survived


def check_large_id(path: Path, place: tuple[str | int, ...], load: Callable[[], Dataset]) -> None:
    """Put an id of 71 bits at a place of a file."""
    document = inner = json.loads(path.read_text())
    for key in place[:-1]:
        inner = inner[key]
    assert isinstance(inner[place[-1]], int)
    inner[place[-1]] = 2**70
    path.write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        load()
    assert str(path) in str(caught.value)
    assert f"'{place[-1]}' is {2**70}, expected an integer of 64 bits" in str(caught.value)


@pytest.fixture
def karpathy_path(coco_folder: Path, write_json: Callable[[Path, Any], Path]) -> Path:
    """Karpathy's file on the five training images of `coco_folder`."""
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
    return write_json(coco_folder / "dataset_coco.json", {"images": images})


@pytest.mark.parametrize("name", ["captions_train2017.json", "instances_train2017.json"])
def test_damaged_coco(coco_folder: Path, name: str) -> None:
    path = coco_folder / "annotations" / name
    survived = fuzz(path, lambda: load_dataset(coco_folder, "train", missing_images="drop"), 1)
    assert 5 < survived < 150


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("captions", ("images", 0, "id")),
        ("captions", ("annotations", 0, "id")),
        ("captions", ("annotations", 0, "image_id")),
        ("instances", ("images", 0, "id")),
        ("instances", ("categories", 0, "id")),
        ("instances", ("annotations", 0, "id")),
        ("instances", ("annotations", 0, "image_id")),
        ("instances", ("annotations", 0, "category_id")),
    ],
)
def test_large_ids_of_coco(coco_folder: Path, name: str, place: tuple[str | int, ...]) -> None:
    path = coco_folder / "annotations" / f"{name}_train2017.json"
    check_large_id(path, place, lambda: load_dataset(coco_folder, "train"))


def test_damaged_karpathy(coco_folder: Path, karpathy_path: Path) -> None:
    load = lambda: load_dataset(coco_folder, "train", missing_images="drop")
    assert 5 < fuzz(karpathy_path, load, 2) < 150


def test_large_ids_of_karpathy(coco_folder: Path, karpathy_path: Path) -> None:
    place = ("images", 0, "cocoid")
    check_large_id(karpathy_path, place, lambda: load_dataset(coco_folder, "train"))


@pytest.mark.parametrize("name", ["image_data", "objects", "attributes", "region_descriptions"])
def test_damaged_visual_genome(genome_folder: Path, name: str) -> None:
    load = lambda: load_dataset(genome_folder, "train", missing_images="drop")
    assert 5 < fuzz(genome_folder / f"{name}.json", load, 3) < 150


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("image_data", (0, "image_id")),
        ("objects", (0, "image_id")),
        ("objects", (0, "objects", 0, "object_id")),
        ("attributes", (0, "attributes", 0, "object_id")),
        ("region_descriptions", (0, "regions", 0, "image_id")),
    ],
)
def test_large_ids_of_visual_genome(
    genome_folder: Path, name: str, place: tuple[str | int, ...]
) -> None:
    path = genome_folder / f"{name}.json"
    check_large_id(path, place, lambda: load_dataset(genome_folder, "train"))


@pytest.mark.parametrize("name", ["world", "attributes"])
def test_damaged_world(tmp_path: Path, name: str) -> None:
    root = tmp_path / "world"
    make_world(root, images=8, seed=0, bounds=Bounds(sizes=((64, 64),)))
    load = lambda: load_dataset(root, "train", missing_images="drop")
    assert 5 < fuzz(root / f"{name}.json", load, 4) < 150
