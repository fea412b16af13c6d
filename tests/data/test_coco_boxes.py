"""COCO as detection reads it: images of the boxes' file, with captions or without."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.data.records import Dataset
from vlp_fast.data.sources import find_layout, load_dataset
from vlp_fast.data.sources.annotations import image_ids, read_annotations
from vlp_fast.errors import InputError


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def load(root: Path, split: str = "val", **reading: Any) -> Dataset:
    return load_dataset(root, split, needs_boxes=True, needs_captions=False, **reading)


def test_an_image_without_a_caption_stays(coco_folder: Path) -> None:
    def drop(document: dict[str, Any]) -> None:
        document["annotations"] = [a for a in document["annotations"] if a["image_id"] != 2]

    edit(coco_folder / "annotations" / "captions_val2017.json", drop)
    dataset = load(coco_folder)
    assert [len(record.captions) for record in dataset.records] == [2, 0, 2]
    assert dataset.notes == ("1 images without a caption are read without a text (the first: 2)",)
    assert len(load_dataset(coco_folder, "val").records) == 2  # where captions are needed


def test_images_are_those_of_the_boxes_file(coco_folder: Path) -> None:
    """One that only the captions know may have anything in it."""
    path = coco_folder / "annotations" / "instances_val2017.json"
    edit(path, lambda document: document["images"].pop())
    assert [record.image_id for record in load(coco_folder).records] == [1, 2]
    assert image_ids(coco_folder, "coco", "val") == [1, 2]


def test_no_captions_at_all(coco_folder: Path) -> None:
    for file in coco_folder.glob("annotations/captions*"):
        file.unlink()
    assert find_layout(coco_folder, needs_captions=False) == "coco"
    dataset = load(coco_folder)
    assert (len(dataset.records), dataset.captions()) == (3, [])
    assert dataset.records[0].coco_id == 1
    with pytest.raises(InputError, match="no known layout"):
        load_dataset(coco_folder, "val")


def test_a_split_to_hand_in_lists_images_and_classes(coco_folder: Path) -> None:
    """test-dev's images lie among those of test; nobody says what is in them."""
    document = json.loads((coco_folder / "annotations" / "instances_val2017.json").read_text())
    del document["annotations"]
    (coco_folder / "annotations" / "image_info_test-dev2017.json").write_text(json.dumps(document))
    (coco_folder / "val2017").rename(coco_folder / "test2017")
    dataset = load(coco_folder, "test-dev")
    assert dataset.is_unannotated
    assert dataset.class_names == ("train", "toothbrush")
    assert [record.path.parent.name for record in dataset.records] == ["test2017"] * 3
    found = read_annotations(coco_folder, "coco", "test-dev", dataset)
    assert (found.category_ids, len(found), len(found.listed)) == ((7, 90), 0, 0)
    assert image_ids(coco_folder, "coco", "test-dev") == [1, 2, 3]
    with pytest.raises(InputError, match=r"neither instances_test\*.json nor image_info_test\*"):
        load(coco_folder, "test")
    with pytest.raises(InputError, match="split 'test-dev' is unknown"):
        load_dataset(coco_folder, "test-dev")


def test_a_split_with_boxes_that_are_all_gone_is_refused(coco_folder: Path) -> None:
    def empty(document: dict[str, Any]) -> None:
        document["annotations"] = []

    path = coco_folder / "annotations" / "instances_val2017.json"
    edit(path, empty)
    with pytest.raises(InputError, match="COCO val2017 has no boxes, and detection needs them"):
        load(coco_folder)


def test_an_image_that_is_missing_is_an_error_or_left_out(coco_folder: Path) -> None:
    (coco_folder / "val2017" / "000000000002.png").unlink()
    with pytest.raises(InputError, match=r"000000000002\.png"):
        load(coco_folder)
    assert len(load(coco_folder, missing_images="drop").records) == 2


def test_real_coco_as_the_other_reader_has_it(shared_data: Path) -> None:
    """All of these images have captions: both readers give the same records."""
    for_captions = load_dataset(shared_data / "coco", "val", layout="coco")
    for_boxes = load(shared_data / "coco", layout="coco")
    assert len(for_boxes.records) == 2796
    for ours, theirs in zip(for_boxes.records, for_captions.records, strict=True):
        assert (ours.image_id, ours.captions, ours.path) == (
            *(theirs.image_id, theirs.captions),
            theirs.path,
        )
        assert ours.boxes.tolist() == theirs.boxes.tolist()
    found = read_annotations(shared_data / "coco", "coco", "val", for_boxes)
    assert len(found) == 26_543
    assert int(found.is_crowd.sum()) == 16
    assert len(found) - 16 - 1 == for_boxes.num_boxes  # one has no extent
