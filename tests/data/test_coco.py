import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlp_fast.data.sources import load_dataset
from vlp_fast.data.sources.json_files import read_json, table
from vlp_fast.errors import InputError

Document = dict[str, Any]


def edit(path: Path, change: Callable[[Document], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def instances_of(root: Path, split: str = "train2017") -> Path:
    return root / "annotations" / f"instances_{split}.json"


def captions_of(root: Path, split: str = "train2017") -> Path:
    return root / "annotations" / f"captions_{split}.json"


def test_the_official_tree_is_read_as_it_is(coco_folder: Path) -> None:
    train = load_dataset(coco_folder, "train", needs_boxes=True)
    assert [r.image_id for r in train.records] == [1, 2, 3, 4, 5]
    assert train.class_names == ("train", "toothbrush")
    assert train.attribute_names == ()
    assert train.describes is None
    assert train.notes == ()
    record = train.records[2]
    assert record.path == coco_folder / "train2017" / "000000000003.png"
    assert (record.width, record.height) == (20, 10)
    assert record.captions == ("caption 0 of image 3", "caption 1 of image 3")
    assert record.boxes.dtype == np.float32
    assert record.boxes.tolist() == [[2, 1, 6, 6]]
    assert (record.labels.tolist(), record.attributes.tolist()) == ([0], [-1])
    assert len(load_dataset(coco_folder, "val")) == 3
    assert train.aspects().tolist() == [2.0] * 5
    assert len(train.captions()) == 10


def test_boxes_are_optional_unless_needed(coco_folder: Path) -> None:
    instances_of(coco_folder).unlink()
    dataset = load_dataset(coco_folder, "train")
    assert dataset.num_boxes == 0
    assert dataset.records[0].boxes.shape == (0, 4)
    assert "no boxes" in dataset.notes[-1]
    with pytest.raises(InputError, match=r"no boxes, and detection needs them.*instances_\*\.json"):
        load_dataset(coco_folder, "train", needs_boxes=True)


def test_boxes_that_all_fail_are_not_called_absent(coco_folder: Path) -> None:
    def spoil(document: Document) -> None:
        for annotation in document["annotations"]:
            annotation["bbox"] = [2, 1, 0, 0]

    def empty(document: Document) -> None:
        document["annotations"] = []

    path = instances_of(coco_folder)
    for change, reason in (
        (spoil, f"none of the 5 annotated is usable; repair the boxes in {path}"),
        (empty, f"{path} has none for these images"),
    ):
        edit(path, change)
        with pytest.raises(InputError) as caught:
            load_dataset(coco_folder, "train", needs_boxes=True)
        assert reason in str(caught.value)
        assert "--task.no-detection" in str(caught.value)
        assert "instances_*" not in str(caught.value)


def test_the_newest_year_is_taken(
    coco_folder: Path,
    write_json: Callable[[Path, Any], Path],
    captions_document: Callable[[int], Document],
) -> None:
    write_json(captions_of(coco_folder, "train2014"), captions_document(2))
    assert load_dataset(coco_folder, "train").name == "COCO train2017"
    captions_of(coco_folder).unlink()
    with pytest.raises(InputError, match=r"2 of 2 annotated images have no file.*train2014"):
        load_dataset(coco_folder, "train")


BOXES: list[tuple[Any, str | None, list[float] | None]] = [
    ([2, 1, 4, 5], None, [2, 1, 6, 6]),
    ([-5, -5, 10, 10], "clipped", [0, 0, 5, 5]),
    ([15, 5, 100, 100], "clipped", [15, 5, 20, 10]),
    ([19.5, 9.5, 1, 1], None, [19.5, 9.5, 20, 10]),
    ([0, 0, 1e8, 1e8], "clipped", [0, 0, 20, 10]),
    ([2, 1, 0, 5], "without extent", None),
    ([2, 1, 4, -5], "without extent", None),
    ([30, 30, 5, 5], "outside", None),
    ([-9, 0, 5, 5], "outside", None),
    ([1e-9 + 3, 1, 1e-9, 5], "outside", None),
    ([float("nan"), 1, 4, 5], "four finite numbers", None),
    ([2, 1, float("inf"), 5], "four finite numbers", None),
    ([2, 1, 10**400, 5], "four finite numbers", None),
    ([2, 1, 4], "four finite numbers", None),
    ([2, "1", "4.0", "5e0"], None, [2, 1, 6, 6]),
    ([2, 1, "4 px", 5], "four finite numbers", None),
    ([2, 1, "nan", 5], "four finite numbers", None),
    ([2, 1, "1_0", 5], "four finite numbers", None),
    ([2, 1, "9" * 5000, 5], "four finite numbers", None),
    ([2, 1, True, 5], "four finite numbers", None),
    (None, "four finite numbers", None),
    ("2145", "four finite numbers", None),
    ({"x": 2}, "four finite numbers", None),
]


@pytest.mark.parametrize(("box", "reason", "expected"), BOXES)
def test_boxes_are_clipped_or_dropped_and_counted(
    coco_folder: Path, box: Any, reason: str | None, expected: list[float] | None
) -> None:
    def change(document: Document) -> None:
        document["annotations"][0]["bbox"] = box

    edit(instances_of(coco_folder), change)
    dataset = load_dataset(coco_folder, "train")
    assert dataset.records[0].boxes.tolist() == ([] if expected is None else [expected])
    assert len(dataset.records[0].labels) == len(dataset.records[0].boxes)
    assert dataset.num_boxes == 4 + (expected is not None)
    if reason is None:
        assert dataset.notes == ()
    else:
        assert reason in dataset.notes[0]
        assert dataset.notes[0].startswith("1 ")
        assert "annotation 1 of instances_train2017.json" in dataset.notes[0]


def test_what_does_not_belong_is_counted(coco_folder: Path) -> None:
    def change(document: Document) -> None:
        boxes = document["annotations"]
        boxes[0]["iscrowd"] = 1
        boxes[1]["category_id"] = 5
        boxes[2]["image_id"] = 999
        boxes[4]["id"] = boxes[3]["id"]

    edit(instances_of(coco_folder), change)
    dataset = load_dataset(coco_folder, "train")
    assert [len(r.boxes) for r in dataset.records] == [0, 0, 0, 1, 0]
    reasons = "\n".join(dataset.notes)
    assert len(dataset.notes) == 4
    for reason in ("crowd regions", "unknown categories", "unknown images", "id seen before"):
        assert reason in reasons


def test_empty_captions_are_dropped_and_counted(coco_folder: Path) -> None:
    def change(document: Document) -> None:
        texts = document["annotations"]
        texts[0]["caption"] = " \n\t "
        texts[2]["caption"] = texts[3]["caption"] = ""
        texts[4]["caption"] = "word " * 10**4
        texts[6]["caption"] = "broken \ud800 text"

    edit(captions_of(coco_folder), change)
    dataset = load_dataset(coco_folder, "train")
    assert [r.image_id for r in dataset.records] == [1, 3, 4, 5]
    assert dataset.records[0].captions == ("caption 1 of image 1",)
    assert dataset.records[2].captions[0] == "broken ? text"
    assert dataset.notes[0].startswith("3 empty captions dropped")
    assert dataset.notes[1].startswith("1 images without a caption dropped")


def test_all_captions_empty_is_an_error(coco_folder: Path) -> None:
    def change(document: Document) -> None:
        for annotation in document["annotations"]:
            annotation["caption"] = ""

    edit(captions_of(coco_folder), change)
    with pytest.raises(InputError, match="no image with a caption: 10 empty captions dropped"):
        load_dataset(coco_folder, "train")


def test_duplicate_and_foreign_captions_are_counted(coco_folder: Path) -> None:
    def change(document: Document) -> None:
        document["annotations"][1]["id"] = document["annotations"][0]["id"]
        document["annotations"][2]["image_id"] = 77
        document["images"].append(dict(document["images"][0]))

    edit(captions_of(coco_folder), change)
    dataset = load_dataset(coco_folder, "train")
    assert [len(r.captions) for r in dataset.records] == [1, 1, 2, 2, 2]
    assert len(dataset.records) == 5
    assert len(dataset.notes) == 3


def test_missing_images_stop_or_are_left_out(coco_folder: Path) -> None:
    (coco_folder / "train2017" / "000000000002.png").unlink()
    with pytest.raises(InputError) as caught:
        load_dataset(coco_folder, "train")
    assert "1 of 5 annotated images have no file" in str(caught.value)
    assert "000000000002.png" in str(caught.value)
    assert "--data.missing-images drop" in str(caught.value)
    kept = load_dataset(coco_folder, "train", missing_images="drop")
    assert [r.image_id for r in kept.records] == [1, 3, 4, 5]
    assert kept.notes == (
        "1 annotated images without a file dropped (the first: 000000000002.png)",
    )
    for path in (coco_folder / "train2017").iterdir():
        path.unlink()
    for how in ("error", "drop"):
        with pytest.raises(InputError, match="5 of 5") as caught:
            load_dataset(coco_folder, "train", missing_images=how)
        assert "--data.missing-images" not in str(caught.value)
        assert "download the images" in str(caught.value)


def test_names_with_control_characters_are_escaped(coco_folder: Path) -> None:
    def change(document: Document) -> None:
        document["images"][1]["file_name"] = "a\n\x1b[2J.png"

    edit(captions_of(coco_folder), change)
    with pytest.raises(InputError, match=r"the first is a\\n\\x1b\[2J\.png") as caught:
        load_dataset(coco_folder, "train")
    assert str(caught.value).isprintable()
    dataset = load_dataset(coco_folder, "train", missing_images="drop")
    assert dataset.notes == (
        r"1 annotated images without a file dropped (the first: a\n\x1b[2J.png)",
    )


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_truncated_files_are_named_with_their_place(coco_folder: Path, share: float) -> None:
    path = captions_of(coco_folder)
    text = json.dumps(json.loads(path.read_text()), indent=1)
    path.write_text(text[: int(len(text) * share)])
    with pytest.raises(InputError) as caught:
        load_dataset(coco_folder, "train")
    message = str(caught.value)
    assert str(path) in message
    assert "line" in message
    assert "column" in message
    assert "truncated" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty; download it again"),
        ("hello", "line 1 column 1: is not valid JSON"),
        ('{"images": [nul]}', "is not valid JSON"),
        ('{"images": [' + "7" * 5000 + "]}", "number of thousands of digits; download it again"),
        ("[]", "has no 'images' list"),
        ('{"images": {}}', "has no 'images' list"),
        ('{"images": [3]}', "entry 0 of 'images' is 3"),
        ('{"images": [{"id": "one"}]}', """'id' is "one", expected int"""),
        ('{"images": [{"id": 1.5}]}', "'id' is 1.5, expected int"),
        ('{"images": [{"id": "1_0"}]}', """'id' is "1_0", expected int"""),
        ('{"images": [{}]}', "'id' is missing"),
        ('{"images": [{"id": 1}, {"x": "' + "y" * 99 + '"}]}', 'entry 1 of "images", {'),
        ('{"images": 3}', "official layout, download the file again"),
        ('{"images": [], "annotations": [{"id": 1}]}', "'image_id' is missing"),
        ('{"images" [], "annotations": []}', "line 1 column 11: is not valid JSON"),
        ("[" * 10**5, "nested too deeply for an annotation file; download it again"),
        ("{'images': []}", "not valid JSON"),
    ],
)
def test_other_layouts_are_told(coco_folder: Path, content: str, reason: str) -> None:
    captions_of(coco_folder).write_text(content)
    with pytest.raises(InputError) as caught:
        load_dataset(coco_folder, "train")
    assert reason in str(caught.value)
    assert str(captions_of(coco_folder)) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_no_part_of_a_file(coco_folder: Path, encoding: str) -> None:
    plain = load_dataset(coco_folder, "train")
    for path in (captions_of(coco_folder), instances_of(coco_folder)):
        path.write_text(path.read_text(), encoding=encoding)
    dataset = load_dataset(coco_folder, "train", needs_boxes=True)
    assert (dataset.captions(), dataset.num_boxes) == (plain.captions(), plain.num_boxes)


def test_every_place_to_cut_a_file_is_told(tmp_path: Path) -> None:
    whole = '{"a": [true, null, -1.5e-3, "x\\u12ab\\n", NaN, -Infinity], "b": {"k": {}}}'
    for length in range(1, len(whole)):
        (tmp_path / "a.json").write_text(whole[:length])
        with pytest.raises(InputError, match=r"line 1 column \d+: ends early \(truncated\)"):
            read_json(tmp_path / "a.json")


def test_a_list_that_is_none_is_told(tmp_path: Path, write_json: Callable[..., Path]) -> None:
    file = read_json(write_json(tmp_path / "a.json", {"a": 1}))
    with pytest.raises(InputError, match=r"a\.json: is not a list of entries; .*download"):
        table(file, None)
    file = read_json(write_json(tmp_path / "a.json", [{}, 5]))
    with pytest.raises(InputError, match=r"entry 1 of the list is 5, not an object; .*download"):
        table(file, None)


def test_binary_annotations_are_told(coco_folder: Path) -> None:
    captions_of(coco_folder).write_bytes(b'{"images": "\xff\xfe"}')
    with pytest.raises(InputError, match="is not text"):
        load_dataset(coco_folder, "train")


@pytest.mark.parametrize("width", [0, -3, 2**40, "20 px", 20.5, None, True])
def test_impossible_sizes_are_told(coco_folder: Path, width: Any) -> None:
    def change(document: Document) -> None:
        document["images"][0]["width"] = width

    edit(instances_of(coco_folder), change)
    with pytest.raises(InputError, match="'width' is"):
        load_dataset(coco_folder, "train")


def test_wrong_folders_say_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load_dataset(tmp_path / "absent", "train")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"notes\.txt: is a file, not a folder; .*--data\.root"):
        load_dataset(tmp_path / "notes.txt", "train")
    with pytest.raises(InputError) as caught:
        load_dataset(tmp_path, "train")
    for name in ("dataset_*.json", "captions_*.json", "image_data.json", str(tmp_path)):
        assert name in str(caught.value)


def test_absent_splits_are_told(coco_folder: Path) -> None:
    with pytest.raises(InputError, match=r"no captions_test\*\.json.*--data\.train-split"):
        load_dataset(coco_folder, "test")
    with pytest.raises(InputError, match=r"no dataset_\*\.json"):
        load_dataset(coco_folder, "train", layout="karpathy")


def test_the_real_sample_in_the_official_layout(shared_data: Path) -> None:
    """Counts of the files themselves; one box has no extent, 16 regions are crowds."""
    dataset = load_dataset(shared_data / "coco", "val", layout="coco", needs_boxes=True)
    assert len(dataset) == 2796
    assert dataset.num_boxes == 26543 - 16 - 1
    assert len(dataset.captions()) == 13986
    assert len(dataset.class_names) == 80
    assert (dataset.class_names[0], dataset.class_names[79]) == ("person", "toothbrush")
    assert len(dataset.notes) == 2
    record = next(r for r in dataset.records if r.image_id == 139)
    np.testing.assert_allclose(record.boxes[0], [124.78, 74.93, 137.79, 111.47], rtol=1e-5)
    assert dataset.class_names[record.labels[0]] == "potted plant"
    for record in dataset.records:
        assert (record.boxes >= 0).all()
        assert (record.boxes[:, 2:] > record.boxes[:, :2]).all()
        assert (record.boxes[:, 2:] <= [record.width, record.height]).all()
        assert record.path.is_file()
