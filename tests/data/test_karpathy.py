import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.data.sources import load_dataset
from vlp_fast.errors import InputError

SPLIT_OF = {1: "train", 2: "restval", 3: "val", 4: "test", 5: "train"}


@pytest.fixture
def karpathy_document() -> dict[str, Any]:
    """Karpathy's file on five images of COCO 2014."""
    return {
        "dataset": "coco",
        "images": [
            {
                "filepath": "val2014",
                "filename": f"COCO_val2014_{i:012d}.png",
                "cocoid": i,
                "imgid": i + 100,
                "split": split,
                "sentences": [{"raw": f" Text {k} of {i}. ", "sentid": i} for k in range(2)],
            }
            for i, split in SPLIT_OF.items()
        ],
    }


@pytest.fixture
def karpathy_folder(
    tmp_path: Path,
    karpathy_document: dict[str, Any],
    write_json: Callable[[Path, Any], Path],
    write_image: Callable[..., Path],
    instances_document: Callable[[int], dict[str, Any]],
) -> Path:
    """COCO 2014 with Karpathy's file in the root and the boxes in `annotations`."""
    root = tmp_path / "coco"
    write_json(root / "dataset_coco.json", karpathy_document)
    write_json(root / "annotations" / "instances_val2014.json", instances_document(5))
    for i in SPLIT_OF:
        write_image(root / "val2014" / f"COCO_val2014_{i:012d}.png")
    return root


def test_splits_are_his_and_restval_trains(karpathy_folder: Path) -> None:
    ids = {
        split: [r.image_id for r in load_dataset(karpathy_folder, split).records]
        for split in ("train", "val", "test")
    }
    assert ids == {"train": [1, 2, 5], "val": [3], "test": [4]}


def test_records_join_captions_and_boxes(karpathy_folder: Path) -> None:
    record = load_dataset(karpathy_folder, "test", needs_boxes=True).records[0]
    assert record.captions == ("Text 0 of 4.", "Text 1 of 4.")
    assert record.boxes.tolist() == [[2, 1, 6, 6]]
    assert record.path == karpathy_folder / "val2014" / "COCO_val2014_000000000004.png"
    assert (record.width, record.height) == (20, 10)


def test_the_images_and_boxes_of_2017_serve_too(
    karpathy_folder: Path,
    coco_folder: Path,
    write_json: Callable[[Path, Any], Path],
    karpathy_document: dict[str, Any],
) -> None:
    """`coco_folder` is a 2017 tree; both years' instances annotate the same boxes once."""
    assert karpathy_folder == coco_folder
    for path in (coco_folder / "val2014").iterdir():
        path.unlink()
    (coco_folder / "annotations" / "instances_val2017.json").unlink()
    dataset = load_dataset(coco_folder, "train", needs_boxes=True)
    assert dataset.records[0].path == coco_folder / "train2017" / "000000000001.png"
    assert dataset.num_boxes == 3
    assert dataset.notes == ()


def test_sizes_come_from_the_files_where_there_are_no_boxes(
    tmp_path: Path,
    karpathy_document: dict[str, Any],
    write_json: Callable[[Path, Any], Path],
    write_image: Callable[..., Path],
) -> None:
    """Flickr30k's file has no COCO ids and no folders; one of the images is broken."""
    root = tmp_path / "flickr"
    for image in karpathy_document["images"]:
        del image["cocoid"], image["filepath"]
        image["filename"] = f"{image['imgid']}.png"
        write_image(root / "images" / image["filename"], (30 + image["imgid"], 40))
    write_json(root / "dataset_flickr30k.json", karpathy_document)
    (root / "images" / "105.png").write_bytes(b"")
    dataset = load_dataset(root, "train")
    assert [(r.image_id, r.width, r.height) for r in dataset.records] == [
        (101, 131, 40),
        (102, 132, 40),
        (105, 1, 1),
    ]
    assert dataset.class_names == ()
    with pytest.raises(InputError, match="has no boxes"):
        load_dataset(root, "train", needs_boxes=True)


def test_damaged_entries_are_told(karpathy_folder: Path) -> None:
    path = karpathy_folder / "dataset_coco.json"
    clean = path.read_text()
    damage: list[tuple[dict[str, Any], str]] = [
        ({"sentences": None}, "has no 'sentences' list"),
        ({"filename": 3}, "'filename' is 3, expected str"),
        ({"split": None}, "'split' is null"),
        ({"cocoid": "four"}, "'cocoid' is"),
        ({"sentences": [{"tokens": []}]}, "'raw' is missing"),
    ]
    for change, reason in damage:
        document = json.loads(clean)
        document["images"][3] |= change
        path.write_text(json.dumps(document))
        with pytest.raises(InputError) as caught:
            load_dataset(karpathy_folder, "test")
        assert reason in str(caught.value)
        assert str(path) in str(caught.value)
        assert "entry 3 of " in str(caught.value)


@pytest.mark.parametrize("is_absolute", [True, False])
def test_images_outside_the_root_are_not_read(
    karpathy_folder: Path, write_image: Callable[..., Path], is_absolute: bool
) -> None:
    outside = karpathy_folder.parent / "elsewhere"
    write_image(outside / "4.png")
    path = karpathy_folder / "dataset_coco.json"
    document = json.loads(path.read_text())
    stated = str(outside) if is_absolute else "annotations/../../elsewhere"
    document["images"][3] |= {"filename": "4.png", "filepath": stated}
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"1 of 1 annotated images have no file") as caught:
        load_dataset(karpathy_folder, "test")
    assert f" {outside}," not in str(caught.value)
    assert ".." not in str(caught.value)
    assert "--data.missing-images" not in str(caught.value)


def test_one_folder_in_many_spellings_is_listed_once(
    karpathy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = karpathy_folder / "dataset_coco.json"
    document = json.loads(path.read_text())
    for number, image in enumerate(document["images"]):
        image["filepath"] += "/." * (number + 1)
    path.write_text(json.dumps(document))
    listed: list[Path] = []
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: listed.append(self) or iterdir(self))
    load_dataset(karpathy_folder, "train")
    assert len(listed) == len(set(listed))


def test_an_empty_split_is_told(karpathy_folder: Path) -> None:
    path = karpathy_folder / "dataset_coco.json"
    path.write_text(path.read_text().replace('"test"', '"other"'))
    with pytest.raises(InputError, match=r"no image in split 'test'; .*--data\.held-out-split"):
        load_dataset(karpathy_folder, "test")


def test_the_real_sample(shared_data: Path) -> None:
    """2,122 restval, 338 val and 336 test images share all boxes and captions."""
    parts = [
        load_dataset(shared_data / "coco", split, needs_boxes=True)
        for split in ("train", "val", "test")
    ]
    assert [len(part) for part in parts] == [2122, 338, 336]
    assert sum(part.num_boxes for part in parts) == 26543 - 16 - 1
    assert sum(len(part.captions()) for part in parts) == 13986
    assert {part.class_names for part in parts} == {parts[0].class_names}
    ids = [r.image_id for part in parts for r in part.records]
    assert len(set(ids)) == 2796
