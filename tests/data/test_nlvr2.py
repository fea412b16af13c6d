"""NLVR2 as it is published: a left and a right picture, found by the identifier."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from downstream_files import WriteImage, edit_lines, statement, write_lines

from vlp_fast.data.records import Dataset
from vlp_fast.data.samples import Statement
from vlp_fast.data.sources.nlvr2 import load_nlvr2, read_statements
from vlp_fast.errors import InputError

DEV = ("dev-7-0-0", "dev-7-1-0", "dev-7-0-1", "dev-8-3-1")


@pytest.fixture
def root(tmp_path: Path, write_image: WriteImage) -> Path:
    """Four statements of dev about three pairs; every left picture is wider than the right one."""
    root = tmp_path / "nlvr2"
    write_lines(root / "dev.json", map(statement, DEV))
    for pair in ("7-0", "7-1", "8-3"):
        write_image(root / f"dev/dev-{pair}-img0.png", (30, 10))
        write_image(root / f"dev/dev-{pair}-img1.png", (20, 10))
    return root


def load(root: Path, split: str = "dev") -> Dataset:
    return load_nlvr2(root, split, missing_images="error")


def shown(dataset: Dataset) -> list[tuple[str, ...]]:
    return [tuple(dataset.records[i].path.name for i in s.images) for s in dataset.samples]


def test_left_and_right_are_in_order_and_shared(root: Path) -> None:
    dataset = load(root)
    assert (dataset.name, dataset.notes) == ("NLVR2 dev", ())
    assert [sample.key for sample in dataset.samples] == list(DEV)
    assert shown(dataset) == [
        ("dev-7-0-img0.png", "dev-7-0-img1.png"),
        ("dev-7-1-img0.png", "dev-7-1-img1.png"),
        ("dev-7-0-img0.png", "dev-7-0-img1.png"),
        ("dev-8-3-img0.png", "dev-8-3-img1.png"),
    ]
    assert len(dataset.records) == 6
    assert len({record.image_id for record in dataset.records}) == 6
    assert dataset.aspects().tolist() == [3.0] * 4  # of the left one
    assert dataset.samples[0] == Statement(
        key="dev-7-0-0",
        images=(0, 1),
        text="The left image shows dev-7-0-0.",
        label=True,
        group="dev-7--0",
    )
    groups = [s.group for s in dataset.samples if isinstance(s, Statement)]
    assert groups == ["dev-7--0", "dev-7--0", "dev-7--1", "dev-8--1"]


def test_swapped_pictures_change_the_sample(root: Path) -> None:
    before = load(root)
    left, right = root / "dev/dev-7-0-img0.png", root / "dev/dev-7-0-img1.png"
    other = left.rename(left.with_name("other"))
    right.rename(left)
    other.rename(right)
    widths = lambda d: [d.records[i].width for i in d.samples[0].images]
    assert (widths(before), widths(load(root))) == ([30, 20], [20, 30])


@pytest.mark.parametrize(
    "folder", ["images/train/42", "train/42", "images/train", "train", "images", ""]
)
def test_pictures_of_train_lie_in_a_hundred_folders(
    tmp_path: Path, write_image: WriteImage, folder: str
) -> None:
    write_lines(tmp_path / "data/train.json", [statement("train-1-2-0", "False", directory=42)])
    for side in (0, 1):
        write_image(tmp_path / folder / f"train-1-2-img{side}.png")
    dataset = load(tmp_path, "train")
    assert dataset.records[1].path == tmp_path / folder / "train-1-2-img1.png"
    assert [s.label for s in dataset.samples if isinstance(s, Statement)] == [False]


@pytest.mark.parametrize("split", ["train", "dev", "test1", "test2"])
@pytest.mark.parametrize("above", ["", "images/"])
@pytest.mark.parametrize("below", ["", "/17"])
@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".jpeg"])
def test_pictures_lie_in_the_folder_of_their_split_or_of_their_number_there(
    tmp_path: Path, write_image: WriteImage, split: str, above: str, below: str, suffix: str
) -> None:
    """As published: train in a hundred numbered folders, the others in one; copies as they like."""
    numbered: dict[str, Any] = {"directory": 17} if below or split == "train" else {}
    write_lines(tmp_path / f"{split}.json", [statement(f"{split}-1-2-0", **numbered)])
    folder = tmp_path / f"{above}{split}{below}"
    other = "dev" if split == "train" else "train"
    for side in (0, 1):
        write_image(folder / f"{split}-1-2-img{side}.png").rename(
            folder / f"{split}-1-2-img{side}{suffix}"
        )
        write_image(tmp_path / other / f"{other}-1-2-img{side}.png")
    dataset = load(tmp_path, split)
    assert [record.path.parent for record in dataset.records] == [folder, folder]
    assert shown(dataset) == [tuple(f"{split}-1-2-img{side}{suffix}" for side in (0, 1))]


def test_a_picture_may_be_jpeg_by_whatever_name(root: Path, write_image: WriteImage) -> None:
    jpeg = write_image(root / "dev/a.jpg", (44, 10))
    jpeg.rename(root / "dev/dev-8-3-img0.png")
    other = root / "dev/dev-8-3-img1.png"
    other.rename(other.with_suffix(".jpg"))
    dataset = load(root)
    assert dataset.records[4].width == 44
    assert dataset.records[5].path.suffix == ".jpg"


@pytest.mark.parametrize("place", ["annotations/balanced", "balanced", "data/balanced", "", "data"])
def test_subsets_are_splits(root: Path, place: str) -> None:
    write_lines(root / place / "balanced_dev.json", map(statement, DEV[:1]))
    assert len(load(root, "balanced_dev")) == 1
    assert load(root, "balanced_dev").name == "NLVR2 balanced_dev"
    with pytest.raises(InputError, match=r"unbalanced_dev\.json: No such file"):
        load(root, "unbalanced_dev")


def test_the_folder_above_serves_too(root: Path) -> None:
    dataset = load(root.parent)
    assert dataset.records[0].path == root / "dev/dev-7-0-img0.png"
    assert len(read_statements(root.parent, "dev")) == 4
    with pytest.raises(InputError) as caught:
        load(root.parent, "train")
    assert str(root.parent / "train.json") in str(caught.value)


def test_other_names_of_splits(root: Path, write_image: WriteImage) -> None:
    assert load(root, "val").name == "NLVR2 dev"
    write_lines(root / "test1.json", [statement("test1-1-0-0")])
    for side in (0, 1):
        write_image(root / f"test1/test1-1-0-img{side}.png")
    assert load(root, "test").name == "NLVR2 test1"
    with pytest.raises(InputError, match="no split 'testing'; choose one of train, dev, test1"):
        load(root, "testing")


def test_only_test_sets_may_be_without_labels(root: Path) -> None:
    lines = [statement("test2-1-0-0"), statement("test2-1-1-0")]
    lines[1].pop("label")
    write_lines(root / "test2.json", lines)
    assert [s.label for s in read_statements(root, "test2")] == [True, None]
    edit_lines(root / "dev.json", lambda rows: rows[2].pop("label"))
    with pytest.raises(InputError, match=r"line 3, .*'label' is missing"):
        load(root)


def test_a_statement_needs_both_pictures(root: Path) -> None:
    (root / "dev/dev-7-0-img1.png").unlink()
    with pytest.raises(InputError, match=r"1 of 6 annotated images .* dev-7-0-img1\.png"):
        load(root)
    dataset = load_nlvr2(root, "dev", missing_images="drop")
    assert [sample.key for sample in dataset.samples] == ["dev-7-1-0", "dev-8-3-1"]
    assert len(dataset.records) == 4
    assert "2 samples without a picture dropped (the first: dev-7-0-0)" in dataset.notes
    assert [s.key for s in read_statements(root, "dev")] == list(DEV)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows[1].update(label="true"), 'line 2: \'label\' is "true", expected "True'),
        (lambda rows: rows[1].update(label=True), "'label' is true, expected str"),
        (lambda rows: rows[1].update(label="maybe"), "'label' is \"maybe\""),
        (lambda rows: rows[1].update(identifier="dev-7-1"), "expected split-set-pair-sentence"),
        (lambda rows: rows[1].update(identifier="dev-7--1"), "expected split-set-pair-sentence"),
        (lambda rows: rows[1].pop("identifier"), "'identifier' is missing"),
        (lambda rows: rows[1].update(sentence=None), "'sentence' is null"),
        (
            lambda rows: rows.append(statement("dev-7-0-0", "False")),
            "two different samples with the id dev-7-0-0",
        ),
    ],
)
def test_what_is_refused(root: Path, change: Callable[[Any], None], expected: str) -> None:
    edit_lines(root / "dev.json", change)
    with pytest.raises(InputError) as caught:
        load(root)
    assert expected in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_line_twice_is_counted(root: Path) -> None:
    edit_lines(root / "dev.json", lambda rows: rows.append(rows[1]))
    assert len(load(root)) == 4
    assert load(root).notes == ("1 samples with an id seen before dropped (the first: dev-7-1-0)",)


def test_real_statements(shared_data: Path) -> None:
    statements = read_statements(shared_data / "samples/nlvr2", "dev")
    lines = (shared_data / "samples/nlvr2/dev.json").read_text().split("\n")
    rows = [json.loads(line) for line in lines if line]
    assert [s.key for s in statements] == [row["identifier"] for row in rows]
    assert [s.label for s in statements] == [row["label"] == "True" for row in rows]
    # By the official script: the third of four parts is blanked.
    expected = Counter(
        "-".join((a, b, "", d)) for a, b, _, d in (s.key.split("-") for s in statements)
    )
    assert Counter(s.group for s in statements) == expected
    assert (len(statements), len(expected), max(expected.values())) == (300, 88, 4)
