"""Small data sets on disk for the tests of the data room."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


@pytest.fixture
def write_json() -> Callable[[Path, Any], Path]:
    """Write a document, making its folder."""

    def write(path: Path, document: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
        return path

    return write


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Write a plain image of a colour, making its folder."""

    def write(
        path: Path, size: tuple[int, int] = (20, 10), colour: tuple[int, int, int] = (9, 90, 190)
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return path

    return write


@pytest.fixture
def captions_document() -> Callable[[int], dict[str, Any]]:
    """COCO captions: images 1 .. n of 20x10 pixels, two captions each."""

    def make(count: int) -> dict[str, Any]:
        ids = range(1, count + 1)
        return {
            "info": {},
            "images": [
                {"id": i, "file_name": f"{i:012d}.png", "width": 20, "height": 10} for i in ids
            ],
            "annotations": [
                {"id": 10 * i + k, "image_id": i, "caption": f" caption {k}\nof image {i} "}
                for i in ids
                for k in range(2)
            ],
        }

    return make


@pytest.fixture
def instances_document() -> Callable[[int], dict[str, Any]]:
    """COCO instances: a box (2, 1, 4, 5) of category 7 in each of images 1 .. n."""

    def make(count: int) -> dict[str, Any]:
        ids = range(1, count + 1)
        return {
            "images": [
                {"id": i, "file_name": f"{i:012d}.png", "width": 20, "height": 10} for i in ids
            ],
            "categories": [{"id": 90, "name": "toothbrush"}, {"id": 7, "name": "train"}],
            "annotations": [
                {"id": i, "image_id": i, "category_id": 7, "bbox": [2, 1, 4, 5], "iscrowd": 0}
                for i in ids
            ],
        }

    return make


@pytest.fixture
def coco_folder(
    tmp_path: Path,
    write_json: Callable[[Path, Any], Path],
    write_image: Callable[..., Path],
    captions_document: Callable[[int], dict[str, Any]],
    instances_document: Callable[[int], dict[str, Any]],
) -> Path:
    """An official COCO 2017 tree: five images in train, three in val."""
    root = tmp_path / "coco"
    for split, count in (("train2017", 5), ("val2017", 3)):
        write_json(root / f"annotations/captions_{split}.json", captions_document(count))
        write_json(root / f"annotations/instances_{split}.json", instances_document(count))
        for i in range(1, count + 1):
            write_image(root / split / f"{i:012d}.png")
    return root


@pytest.fixture
def genome_folder(
    tmp_path: Path, write_json: Callable[[Path, Any], Path], write_image: Callable[..., Path]
) -> Path:
    """Three images of Visual Genome."""
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
    return tmp_path
