"""Pictures of both splits: found whatever they are called, and other pictures are left alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from vlp_fast.data.config import DataConfig
from vlp_fast.data.leak import without_training_pictures
from vlp_fast.data.records import Dataset, Record
from vlp_fast.data.samples import Statement
from vlp_fast.errors import InputError
from vlp_fast.models.config import SohoConfig
from vlp_fast.tasks.config import RunLength, TaskSetup
from vlp_fast.tasks.reading import read_splits

Make = Callable[..., Dataset]
COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250), (90, 90, 0))


@pytest.fixture
def make(tmp_path: Path, write_image: Callable[..., Path]) -> Make:
    """A split of plain pictures, one for each (id, file, colour)."""

    def split(name: str, *pictures: tuple[int, str, int]) -> Dataset:
        records = tuple(
            Record(
                image_id=image_id,
                path=write_image(tmp_path / file, (9, 9), COLOURS[colour]),
                width=9,
                height=9,
                captions=(file,),
                boxes=np.zeros((0, 4), dtype=np.float32),
                labels=np.zeros(0, dtype=np.int64),
                attributes=np.zeros(0, dtype=np.int64),
            )
            for image_id, file, colour in pictures
        )
        return Dataset(name=name, records=records, class_names=(), attribute_names=())

    return split


def left(held_out: Dataset, train: Dataset) -> list[str]:
    return [r.captions[0] for r in without_training_pictures(held_out, train).records]


def test_the_pictures_of_another_year_are_the_same(make: Make) -> None:
    """COCO's train2017 beside val2014, whose names had a prefix."""
    train = make("train2017", (42, "train2017/000042.png", 0), (43, "train2017/000043.png", 1))
    held_out = make(
        "val2014", (42, "val2014/COCO_val2014_000042.png", 0), (7, "val2014/COCO_val2014_7.png", 2)
    )
    found = without_training_pictures(held_out, train)
    assert [r.image_id for r in found.records] == [7]
    assert len(found.notes) == 1
    assert found.notes[0].startswith("1 held-out images that are in train2017 too dropped")
    assert "COCO_val2014_000042.png" in found.notes[0]


def pair(*images: int) -> Statement:
    return Statement(key=str(images), images=images, text="True.", label=True, group="")


def test_samples_go_with_any_of_their_pictures(make: Make) -> None:
    train = make("train", (1, "train/a.png", 0))
    pictures = [(1, "val/a.png", 0), (2, "val/b.png", 1), (3, "val/c.png", 2)]
    held_out = replace(make("val", *pictures), samples=(pair(2, 1), pair(0, 1), pair(1, 2)))
    kept = without_training_pictures(held_out, train)
    assert [record.image_id for record in kept.records] == [2, 3]
    assert [sample.images for sample in kept.samples] == [(1, 0), (0, 1)]
    # Without samples it would be a data set of pictures.
    none_left = replace(held_out, samples=(pair(2, 0), pair(0, 1)))
    with pytest.raises(InputError, match="a picture of every other sample of val is in train too"):
        without_training_pictures(none_left, train)


def test_one_file_under_two_ids_is_the_same(make: Make) -> None:
    train = make("train", (1, "images/a.png", 0))
    held_out = make("val", (100, "images/a.png", 0), (101, "images/b.png", 1))
    held_out.records[0].path.write_bytes(b"")  # broken today, repaired tomorrow
    assert left(held_out, train) == ["images/b.png"]


def test_copies_and_links_under_the_same_name_are_the_same(make: Make, tmp_path: Path) -> None:
    train = make("train", (1, "train/a.png", 0), (2, "train/b.png", 1))
    held_out = make("val", (11, "val/a.png", 0), (12, "val/b.png", 0), (13, "val/c.png", 2))
    (tmp_path / "val/b.png").unlink()
    (tmp_path / "val/b.png").symlink_to(tmp_path / "train/b.png")
    assert left(held_out, train) == ["val/c.png"]


def test_ids_and_names_that_begin_anew_are_other_pictures(make: Make) -> None:
    train = make("train", (1, "train/1.png", 0), (2, "train/2.png", 1))
    held_out = make("val", (1, "val/1.png", 2), (2, "val/2.png", 3))
    sizes = {r.path.stat().st_size for r in (*train.records, *held_out.records)}
    assert len(sizes) < 4  # at least two are told apart by their bytes
    assert without_training_pictures(held_out, train) is held_out


def test_broken_and_absent_files_are_no_copies(make: Make) -> None:
    train = make("train", (1, "train/1.png", 0), (2, "train/2.png", 1))
    held_out = make("val", (1, "val/1.png", 0), (2, "val/2.png", 1))
    for record in (train.records[0], held_out.records[0]):
        record.path.write_bytes(b"")
    held_out.records[1].path.unlink()
    assert len(without_training_pictures(held_out, train)) == 2


def test_nothing_left_is_refused_and_the_same_split_is_not(make: Make) -> None:
    train = make("train", (1, "a.png", 0), (2, "b.png", 1))
    held_out = replace(train, name="val")
    with pytest.raises(InputError, match=r"a\.png: this and every other picture of val is in tr"):
        without_training_pictures(held_out, train)
    assert without_training_pictures(train, train) is train


@dataclass(frozen=True)
class Told:
    """One text is true of each record, as the drawn world knows by its scenes."""

    texts: tuple[str, ...]

    def __call__(self, index: int, text: str) -> bool:
        return self.texts[index] == text

    def selected(self, indices: Sequence[int]) -> "Told":
        return Told(tuple(self.texts[index] for index in indices))


def test_what_is_known_of_a_record_stays_with_it(make: Make) -> None:
    train = make("train", (1, "a.png", 0))
    held_out = make("val", (1, "a.png", 0), (2, "b.png", 1), (3, "c.png", 2))
    found = without_training_pictures(replace(held_out, describes=Told(("a", "b", "c"))), train)
    assert found.describes == Told(("b", "c"))  # what an evaluation asks for more than a verdict


def test_a_run_does_not_measure_on_its_training_pictures(
    coco_folder: Path, write_image: Callable[..., Path]
) -> None:
    """All pictures of this folder are alike, so those of the same name are the same."""
    setup = TaskSetup(
        data=DataConfig(root=coco_folder),
        model=SohoConfig(),
        length=RunLength(steps=1, epochs=1.0, batch_size=2, shards=1),
        seed=0,
        held_out_images=2,
    )
    with pytest.raises(InputError, match=r"every other picture of COCO val2017 is in COCO train"):
        read_splits(setup)
    write_image(coco_folder / "val2017" / "000000000002.png", colour=(1, 2, 3))
    train, held_out = read_splits(setup)
    assert (len(train), [r.image_id for r in held_out.records]) == (5, [2])
