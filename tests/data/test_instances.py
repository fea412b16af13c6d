"""Instance files of several origins in one folder: only what belongs together is merged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.data.records import Dataset
from vlp_fast.data.sources import load_dataset
from vlp_fast.errors import InputError

Document = dict[str, Any]
IDS = (1, 2, 3, 4)


@pytest.fixture
def root(
    tmp_path: Path, write_json: Callable[[Path, Any], Path], write_image: Callable[..., Path]
) -> Path:
    """Karpathy's file on four training images; no boxes yet."""
    images = [
        {
            "filepath": "train2014",
            "filename": f"COCO_train2014_{i:012d}.png",
            "cocoid": i,
            "split": "train",
            "sentences": [{"raw": f"text {i}"}],
        }
        for i in IDS
    ]
    for image in images:
        write_image(tmp_path / "train2014" / str(image["filename"]))
    write_json(tmp_path / "dataset_coco.json", {"images": images})
    return tmp_path


@pytest.fixture
def add(root: Path, write_json: Callable[[Path, Any], Path]) -> Callable[..., Path]:
    """Add an instance file of some images, with a box of category 7 each, ids counted from 1."""

    def write(
        part: str, ids: tuple[int, ...], *, x: float = 2, classes: tuple[tuple[int, str], ...] = ()
    ) -> Path:
        names = classes or ((7, "train"), (90, "toothbrush"))
        document = {
            "images": [{"id": i, "width": 20, "height": 10} for i in ids],
            "categories": [{"id": i, "name": name} for i, name in names],
            "annotations": [
                {"id": n, "image_id": i, "category_id": 7, "bbox": [x, 1, 4, 5], "iscrowd": 0}
                for n, i in enumerate(ids, start=1)
            ],
        }
        return write_json(root / "annotations" / f"instances_{part}.json", document)

    return write


def boxes_of(dataset: Dataset) -> dict[int, list[float]]:
    """Left edge of every box by image id."""
    return {r.image_id: r.boxes[:, 0].tolist() for r in dataset.records}


def test_one_id_with_two_names_in_two_files_is_refused(
    root: Path, add: Callable[..., Path]
) -> None:
    first = add("train2014", (1, 2))
    second = add("val2014", (3, 4), classes=((7, "toothbrush"), (90, "train")))
    with pytest.raises(InputError) as caught:
        load_dataset(root, "train")
    message = str(caught.value)
    assert message.startswith(f'{second}: category 7 is "toothbrush" here and "train" in {first};')
    assert "number the classes of all instance files alike" in message


@pytest.mark.parametrize("layout", ["karpathy", "coco"])
def test_one_id_with_two_names_in_one_file_is_refused(
    root: Path, add: Callable[..., Path], coco_folder: Path, layout: str
) -> None:
    if layout == "coco":
        root = coco_folder
        path = root / "annotations" / "instances_train2017.json"
        document = json.loads(path.read_text())
        document["categories"].append({"id": 7, "name": "tram"})
        path.write_text(json.dumps(document))
    else:
        add("train2014", IDS, classes=((7, "train"), (7, "tram")))
    with pytest.raises(InputError, match='category 7 is "tram" here and "train" in'):
        load_dataset(root, "train")


def test_one_name_with_two_ids_in_two_files_is_refused(
    root: Path, add: Callable[..., Path]
) -> None:
    """They would become two classes of the same name."""
    add("train2014", (1, 2))
    add("val2014", (3, 4), classes=((107, "train"),))
    with pytest.raises(InputError, match='category "train" has the id 107 here and 7 in'):
        load_dataset(root, "train")


def test_files_may_have_classes_of_their_own(root: Path, add: Callable[..., Path]) -> None:
    add("train2014", (1, 2))
    add("val2014", (3, 4), classes=((7, "train"), (8, "tram")))
    dataset = load_dataset(root, "train", needs_boxes=True)
    assert dataset.class_names == ("train", "tram", "toothbrush")
    assert dataset.num_boxes == 4


def test_ids_of_annotations_may_begin_anew_in_another_file(
    root: Path, add: Callable[..., Path]
) -> None:
    add("train2014", (1, 2))
    add("val2014", (3, 4), x=9)
    dataset = load_dataset(root, "train", needs_boxes=True)
    assert boxes_of(dataset) == {1: [2], 2: [2], 3: [9], 4: [9]}
    assert dataset.notes == ()


def test_an_older_file_serves_images_that_the_newer_does_not_list(
    root: Path, add: Callable[..., Path]
) -> None:
    add("val2017", (2,), x=9)
    older = add("train2014", IDS)
    dataset = load_dataset(root, "train", needs_boxes=True)
    assert boxes_of(dataset) == {1: [2], 2: [9], 3: [2], 4: [2]}
    assert len(dataset.notes) == 1
    assert "1 boxes passed over, for the images have theirs from another file" in dataset.notes[0]
    assert f"annotation 2 of {older.name}" in dataset.notes[0]


def test_two_whole_years_are_read_once(root: Path, add: Callable[..., Path]) -> None:
    """Older files are not even opened if the newer ones list all images."""
    add("train2017", (1, 2), x=9)
    add("val2017", (3, 4), x=9)
    add("train2014", IDS).write_text("not read")
    dataset = load_dataset(root, "train", needs_boxes=True)
    assert boxes_of(dataset) == {1: [9], 2: [9], 3: [9], 4: [9]}
    assert dataset.notes == ()


def test_an_image_that_one_file_only_lists_has_the_boxes_of_the_other(
    root: Path, add: Callable[..., Path]
) -> None:
    path = add("train2014", IDS)
    document = json.loads(path.read_text())
    document["annotations"] = document["annotations"][:3]
    document["images"][3]["width"] = 99
    path.write_text(json.dumps(document))
    add("val2014", (4,), x=9)
    dataset = load_dataset(root, "train", needs_boxes=True)
    assert boxes_of(dataset) == {1: [2], 2: [2], 3: [2], 4: [9]}
    assert dataset.records[3].width == 20  # of the file that the box is from


def test_images_that_no_file_lists_are_counted(root: Path, add: Callable[..., Path]) -> None:
    add("train2014", (1, 2))
    dataset = load_dataset(root, "train", needs_boxes=True)
    assert dataset.notes == ("2 images that no instance file lists have no boxes (the first: 3)",)


def test_numbers_may_be_written_as_text(coco_folder: Path) -> None:
    """By tools that write every field as text: zero as well, which is no crowd."""

    def quoted(thing: Any) -> Any:
        if isinstance(thing, dict):
            return {key: quoted(value) for key, value in thing.items()}
        if isinstance(thing, list):
            return [quoted(value) for value in thing]
        return str(thing) if isinstance(thing, int | float) else thing

    plain = load_dataset(coco_folder, "train", needs_boxes=True)
    for kind in ("captions", "instances"):
        path = coco_folder / "annotations" / f"{kind}_train2017.json"
        path.write_text(json.dumps(quoted(json.loads(path.read_text()))))
    dataset = load_dataset(coco_folder, "train", needs_boxes=True)
    assert dataset.notes == plain.notes == ()
    for mine, theirs in zip(dataset.records, plain.records, strict=True):
        assert mine.boxes.tolist() == theirs.boxes.tolist()
        assert (mine.image_id, mine.width, mine.path) == (
            theirs.image_id,
            theirs.width,
            theirs.path,
        )


@pytest.mark.parametrize(
    ("value", "is_crowd"),
    [
        (0, False), (1, True), ("0", False), ("1", True), (0.0, False), ("0.0", False),
        (False, False), (True, True), (None, False),
    ],
)  # fmt: skip
def test_a_crowd_is_what_says_so(coco_folder: Path, value: Any, is_crowd: bool) -> None:
    path = coco_folder / "annotations" / "instances_train2017.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["iscrowd"] = value
    path.write_text(json.dumps(document))
    assert load_dataset(coco_folder, "train").num_boxes == 5 - is_crowd


@pytest.mark.parametrize("value", ["no", "", [], {}, "0 "])
def test_what_is_neither_crowd_nor_not_is_told(coco_folder: Path, value: Any) -> None:
    path = coco_folder / "annotations" / "instances_train2017.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["iscrowd"] = value
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"entry 0 of \"annotations\".*'iscrowd' is"):
        load_dataset(coco_folder, "train")


def test_one_image_id_with_two_files_is_told(coco_folder: Path) -> None:
    """Which of the two a caption is about, nobody knows."""
    path = coco_folder / "annotations" / "captions_train2017.json"
    document = json.loads(path.read_text())
    document["images"][1]["id"] = 1
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"image 1 is \"0+1\.png\" and \"0+2\.png\"; give each"):
        load_dataset(coco_folder, "train")


def test_another_file_of_the_same_split_is_passed_over_and_told(
    coco_folder: Path,
    write_json: Callable[[Path, Any], Path],
    captions_document: Callable[[int], Document],
) -> None:
    """Also one of the same year, and one whose name only begins like the split's."""
    for name in ("val2014", "valminusminival2017"):
        write_json(coco_folder / "annotations" / f"captions_{name}.json", captions_document(1))
    dataset = load_dataset(coco_folder, "val", layout="coco")
    assert (dataset.name, len(dataset)) == ("COCO val2017", 3)
    assert "2 other files of captions passed over for captions_val2017.json" in dataset.notes[0]
