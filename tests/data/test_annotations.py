"""Objects as files state them, for COCO's protocol: nothing clipped, rounded or left out."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import damaged

from vlp_fast.data.annotations import Annotations
from vlp_fast.data.config import Layout
from vlp_fast.data.sources import json_files, load_dataset
from vlp_fast.data.sources.annotations import image_ids, read_annotations
from vlp_fast.data.store import dataset_cache
from vlp_fast.errors import InputError

Document = dict[str, Any]
USUAL = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [2, 1, 4, 5], "area": 11.5, "iscrowd": 0}


def read(root: Path, split: str = "val", layout: Layout = "coco") -> Annotations:
    dataset = load_dataset(root, split, layout=layout, needs_captions=False)
    return read_annotations(root, layout, split, dataset)


def annotate(root: Path, *changes: Document, split: str = "val2017") -> None:
    """Objects of a split, as the usual one but for what is said."""
    path = root / "annotations" / f"instances_{split}.json"
    document = json.loads(path.read_text())
    document["annotations"] = [USUAL | {"id": n} | one for n, one in enumerate(changes, 1)]
    path.write_text(json.dumps(document))


def test_crowds_and_what_learning_leaves_out_are_there(coco_folder: Path) -> None:
    outside = [18.123456789, 8, 9.5, 3]
    annotate(
        coco_folder,
        {"iscrowd": 1, "bbox": [0, 0, 20, 10], "area": 170},
        {"bbox": outside, "category_id": 90},
        {"bbox": [3, 3, 0, 4], "area": 0},  # no extent: nobody finds it, and COCO counts it
        {"image_id": 3},
    )
    found = read(coco_folder)
    assert found.class_names == ("train", "toothbrush")
    assert found.category_ids == (7, 90)
    assert found.listed.tolist() == [1, 2, 3]  # with nothing in the second
    assert found.image_ids.tolist() == [1, 1, 1, 3]
    assert found.labels.tolist() == [0, 1, 0, 0]
    assert found.boxes.tolist() == [[0, 0, 20, 10], outside, [3, 3, 0, 4], [2, 1, 4, 5]]
    assert found.areas.tolist() == [170, 11.5, 0, 11.5]
    assert found.is_crowd.tolist() == [True, False, False, False]
    assert found.attributes.tolist() == [-1] * 4
    learnt = load_dataset(coco_folder, "val")
    assert [len(record.labels) for record in learnt.records] == [1, 0, 1]


def test_an_area_that_is_not_said_is_that_of_the_box(coco_folder: Path) -> None:
    annotate(
        coco_folder,
        {"area": None},
        {"area": "12.5"},
        {"area": -3},
        {"area": 10**400},
        {"area": True},
    )
    assert read(coco_folder).areas.tolist() == [20, 12.5, 20, 20, 20]


def test_ids_may_be_text_and_words_may_not(coco_folder: Path) -> None:
    annotate(coco_folder, {"id": "900", "image_id": "000000000002", "category_id": "7"})
    assert read(coco_folder).image_ids.tolist() == [2]
    annotate(coco_folder, {"image_id": "two"})
    with pytest.raises(InputError, match=r"instances_val2017.json: entry 0.*'image_id' is \"two\""):
        read(coco_folder)


def test_what_belongs_to_no_image_or_class_and_what_is_no_box_is_left_out(
    coco_folder: Path,
) -> None:
    annotate(
        coco_folder,
        {"image_id": 99},
        {"category_id": 8},
        {"category_id": 8, "iscrowd": 1},
        {"bbox": [1, 2, 3]},
        {"bbox": [1, 2, float("nan"), 3]},
        {"bbox": [9, 9, -3, 4]},
        {"id": 1},
        {},
    )
    found = read(coco_folder)
    assert (found.image_ids.tolist(), found.boxes.tolist()) == ([1], [[2, 1, 4, 5]])


def test_those_of_some_images(coco_folder: Path) -> None:
    some = read(coco_folder).of([3, 1, 77])
    assert (some.listed.tolist(), some.image_ids.tolist()) == ([1, 3], [1, 3])
    assert len(some) == 2
    assert some.category_ids == (7, 90)


def test_images_that_no_instance_file_lists_are_not_called_empty(
    coco_folder: Path, write_json: Callable[[Path, Any], Path]
) -> None:
    """Karpathy's split has four images of which the boxes' files know three."""
    (coco_folder / "val2017" / "000000000009.png").write_bytes(
        (coco_folder / "val2017" / "000000000001.png").read_bytes()
    )
    images = [
        {"filepath": "val2017", "filename": f"{i:012d}.png", "cocoid": i, "split": "val"}
        for i in (3, 2, 9, 1)
    ]
    document = {"images": [image | {"sentences": [{"raw": "some text"}]} for image in images]}
    write_json(coco_folder / "dataset_coco.json", document)
    for file in coco_folder.glob("annotations/*train*"):
        file.unlink()
    assert sorted(read(coco_folder, layout="karpathy").listed.tolist()) == [1, 2, 3]


def test_the_world_s_have_colours(small_world: Path) -> None:
    dataset = load_dataset(small_world, "val")
    found = read(small_world, layout="world")
    assert found.attributes.min() >= 0
    by_record = {r.image_id: r for r in dataset.records}
    assert set(found.listed.tolist()) == set(by_record)
    for image_id, record in by_record.items():
        own = found.of([image_id])
        assert own.labels.tolist() == record.labels.tolist()
        assert own.attributes.tolist() == record.attributes.tolist()
        sides = record.boxes[:, 2:] - record.boxes[:, :2]
        np.testing.assert_allclose(own.boxes[:, 2:], sides, atol=1e-4)
        assert (own.areas < sides.prod(axis=1) + 1e-3).all()


def test_visual_genome_s_are_those_of_the_records(genome_folder: Path) -> None:
    for split in ("train", "val", "test"):
        try:
            found = read(genome_folder, split, "visual_genome")
        except InputError:
            continue  # few images, and a hash decides where they are
        assert found.boxes.tolist() == [[2, 1, 4, 5]] * len(found)
        assert found.areas.tolist() == [20] * len(found)
        assert not found.is_crowd.any()
        assert found.attributes.tolist() == [0] * len(found)
        with pytest.raises(InputError, match="its layout is visual_genome, and COCO's server"):
            image_ids(genome_folder, "visual_genome", split)


def test_large_files_are_parsed_once(
    coco_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(dataset_cache, "SMALLEST", 1)
    dataset = load_dataset(coco_folder, "val", needs_captions=False)
    first = read_annotations(coco_folder, "coco", "val", dataset)
    with monkeypatch.context() as patch:
        patch.setattr(json_files, "_parsed", lambda *_: pytest.fail("parsed again"))
        again = read_annotations(coco_folder, "coco", "val", dataset)
        fewer = read_annotations(coco_folder, "coco", "val", dataset.selected([2]))
    for name, value in vars(first).items():
        assert np.array_equal(getattr(again, name), value), name
    assert fewer.image_ids.tolist() == [3]
    annotate(coco_folder, {"bbox": [1, 1, 1, 1]})
    assert read_annotations(coco_folder, "coco", "val", dataset).boxes.tolist() == [[1, 1, 1, 1]]


def test_what_was_kept_for_fewer_images_is_read_again(
    coco_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(dataset_cache, "SMALLEST", 1)
    dataset = load_dataset(coco_folder, "val", needs_captions=False)
    assert len(read_annotations(coco_folder, "coco", "val", dataset.selected([0]))) == 1
    assert len(read_annotations(coco_folder, "coco", "val", dataset)) == 3


def test_damaged_files_give_annotations_or_one_line(coco_folder: Path) -> None:
    path = coco_folder / "annotations" / "instances_val2017.json"
    clean, rng, survived = json.loads(path.read_text()), random.Random(3), 0
    for _ in range(120):
        path.write_text(json.dumps(damaged(clean, rng)))
        try:
            found = read(coco_folder)
        except InputError as error:
            assert str(error).isprintable()
            continue
        survived += 1
        assert np.isfinite(found.boxes).all() and np.isfinite(found.areas).all()
        assert (found.boxes[:, 2:] >= 0).all() and (found.areas >= 0).all()
        assert ((found.labels >= 0) & (found.labels < len(found.class_names))).all()
    assert 5 < survived < 120


def test_the_classes_numbers_go_by_their_names(coco_folder: Path) -> None:
    found = read(coco_folder)
    assert found.category_ids_of(("toothbrush", "train")) == [90, 7]
    with pytest.raises(InputError, match="finds 'cat', and the files of the split number no class"):
        found.category_ids_of(("train", "cat"))
