from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vlp_fast.data.examples import ImageLoader
from vlp_fast.data.header import read_size
from vlp_fast.data.records import Dataset, Record
from vlp_fast.data.sources import load_dataset
from vlp_fast.errors import InputError

Make = Callable[[tuple[int, int], tuple[int, int]], Dataset]


@pytest.fixture
def dataset_with(tmp_path: Path, write_image: Callable[..., Path]) -> Make:
    """A strip of pixels and an ordinary picture of 20x10; the strip may be annotated otherwise."""

    def make(size: tuple[int, int], annotated: tuple[int, int]) -> Dataset:
        records = tuple(
            Record(
                image_id=i,
                path=write_image(tmp_path / name, stored),
                width=stated[0],
                height=stated[1],
                captions=(name,),
                boxes=np.zeros((0, 4), dtype=np.float32),
                labels=np.zeros(0, dtype=np.int64),
                attributes=np.zeros(0, dtype=np.int64),
            )
            for i, (name, stored, stated) in enumerate(
                [("strip.png", size, annotated), ("plain.png", (20, 10), (20, 10))]
            )
        )
        return Dataset(name="test", records=records, class_names=(), attribute_names=())

    return make


@pytest.mark.parametrize(
    ("size", "shorter", "shown"),
    [
        ((10001, 1), None, "10001x1"),
        ((1, 10001), None, "1x10001"),
        ((300, 2), (100,), "15000x100"),
        ((2, 300), (100,), "100x15000"),
        ((800, 200), (600,), "2400x600"),  # more pixels than are allowed
    ],
)
@pytest.mark.parametrize("cache", [False, True])
def test_without_a_cap_strips_are_broken(
    dataset_with: Make,
    size: tuple[int, int],
    shorter: tuple[int, ...] | None,
    shown: str,
    cache: bool,
) -> None:
    images = ImageLoader(
        dataset=dataset_with(size, size),
        shorter=shorter,
        longer=None,
        seed=0,
        max_pixels=10**6,
        cache=cache,
    )
    for _ in range(2):
        example = images.load(0, 0)
        assert example.index == 1
        assert f"strip.png: would be shown at {shown}, more than" in str(example.problem)
        assert "--data.longer N; plain.png is shown instead" in str(example.problem)


def test_with_a_cap_the_same_strips_are_shown(dataset_with: Make) -> None:
    for size in ((10001, 1), (2, 300), (800, 200)):
        images = ImageLoader(
            dataset=dataset_with(size, size), shorter=(600,), longer=1000, seed=0, max_pixels=10**6
        )
        example = images.load(0, 0)
        assert example.problem is None
        assert max(example.image.shape[1:]) == 1000


def test_sides_up_to_ten_thousand_pixels_are_shown(dataset_with: Make) -> None:
    dataset = dataset_with((10000, 1), (10000, 1))
    images = ImageLoader(dataset=dataset, shorter=None, longer=None, seed=0)
    assert images.load(0, 0).image.shape == (3, 1, 10000)


def test_an_impossible_annotated_size_does_not_end_a_run_with_a_cache(dataset_with: Make) -> None:
    dataset = dataset_with((30, 10), (2**31 - 1, 2**31 - 1))
    images = ImageLoader(dataset=dataset, shorter=None, longer=None, seed=0, cache=True)
    for _ in range(2):
        assert images.load(0, 0).image.shape == (3, 10, 30)
        assert images.load(1, 0).image.shape == (3, 10, 20)


def dataset_of(folder: Path, write_image: Callable[..., Path], count: int) -> Dataset:
    """Pictures of 20x10 with a box each."""
    records = tuple(
        Record(
            image_id=i,
            path=write_image(folder / f"{i:03d}.png", (20, 10)),
            width=20,
            height=10,
            captions=(f"picture {i}",),
            boxes=np.array([[2, 1, 6, 6]], dtype=np.float32),
            labels=np.array([3], dtype=np.int64),
            attributes=np.array([5], dtype=np.int64),
        )
        for i in range(count)
    )
    return Dataset(name="many", records=records, class_names=(), attribute_names=())


def plain_loader(dataset: Dataset, seed: int = 0) -> ImageLoader:
    return ImageLoader(dataset=dataset, shorter=None, longer=None, seed=seed)


@pytest.mark.parametrize(
    ("count", "broken", "told"),
    [
        (24, 22, "22 of 24 images of many"),
        (24, 13, "13 of 24 images of many"),
        (24, 12, None),
        (8, 5, "5 of 8 images of many"),
        (7, 6, None),  # too few to conclude anything
        (3, 2, None),
        (200, 190, "of 64 images of many"),
        (200, 60, None),
    ],
)
@pytest.mark.parametrize("content", [b"", b"<html>"])
def test_a_data_set_that_is_mostly_broken_is_refused(
    tmp_path: Path, write_image: Callable[..., Path], count: int, broken: int, told: str | None,
    content: bytes,
) -> None:  # fmt: skip
    dataset = dataset_of(tmp_path / "pictures", write_image, count)
    for record in dataset.records[:broken]:
        record.path.write_bytes(content)
    if told is None:
        plain_loader(dataset).look()
        assert plain_loader(dataset).load(0, 0).index >= broken
        return
    messages = set()
    for seed in range(3):  # what is looked at does not depend on the run
        with pytest.raises(InputError) as caught:
            plain_loader(dataset, seed).look()
        messages.add(str(caught.value))
    (message,) = messages
    assert message.startswith(f"{tmp_path / 'pictures'}: ")
    assert told in message
    assert "000.png: is not an image" in message
    assert "repair or download" in message


def test_truncated_pictures_count_as_broken_too(
    tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    """Their headers are whole: only decoding tells."""
    dataset = dataset_of(tmp_path, write_image, 10)
    for record in dataset.records[:6]:
        record.path.write_bytes(record.path.read_bytes()[:45])
        assert read_size(record.path) == (10, 20)
    with pytest.raises(InputError, match="6 of 10 images of many that were looked at"):
        plain_loader(dataset).look()


def test_what_is_not_shown_is_not_looked_at(
    tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    dataset = dataset_of(tmp_path, write_image, 30)
    for record in dataset.records[10:]:
        record.path.write_bytes(b"")
    plain_loader(dataset).look(range(10))
    with pytest.raises(InputError, match="12 of 22 images of many that were looked at"):
        plain_loader(dataset).look(range(22))


@pytest.mark.parametrize("cache", [False, True])
def test_boxes_that_are_not_needed_never_cost_a_picture(
    tmp_path: Path, write_image: Callable[..., Path], cache: bool
) -> None:
    """The file of the first is of another shape than its annotations say."""
    dataset = dataset_of(tmp_path, write_image, 4)
    write_image(dataset.records[0].path, (30, 30))
    needed = ImageLoader(dataset=dataset, shorter=None, longer=None, seed=0, cache=cache)
    assert "boxes cannot be placed" in str(needed.load(0, 0).problem)
    spared = replace(dataset, needs_boxes=False)
    images = ImageLoader(dataset=spared, shorter=None, longer=None, seed=0, cache=cache)
    for _ in range(2):
        example = images.load(0, 0)
        assert (example.index, example.problem) == (0, None)
        assert example.image.shape == (3, 30, 30)
        assert (len(example.boxes), len(example.labels), len(example.attributes)) == (0, 0, 0)
        whole = images.load(1, 0)
        assert whole.boxes.tolist() == pytest.approx(np.array([[0.2, 0.35, 0.2, 0.5]]))
        assert (whole.labels.tolist(), whole.attributes.tolist()) == ([3], [5])


def test_a_data_set_knows_whether_it_needs_boxes(coco_folder: Path) -> None:
    for needs_boxes in (False, True):
        assert load_dataset(coco_folder, "val", needs_boxes=needs_boxes).needs_boxes is needs_boxes


def test_one_size_is_drawn_for_all_of_a_batch_and_a_new_one_for_the_next(
    dataset_with: Make,
) -> None:
    dataset = dataset_with((40, 30), (40, 30))
    lengths = tuple(range(16, 33))
    images = ImageLoader(dataset=dataset, shorter=lengths, longer=None, seed=3, one_size=True)
    drawn = [{min(images.load(i, 0, step).size) for i in range(2)} for step in range(12)]
    assert all(len(sizes) == 1 for sizes in drawn)
    assert len(set.union(*drawn)) > 3
    assert len({images.load(1, epoch, 5).size for epoch in range(12)}) > 3
    each = ImageLoader(dataset=dataset, shorter=lengths, longer=None, seed=3)
    assert any(len({min(each.load(i, epoch, 0).size) for i in range(2)}) == 2 for epoch in range(8))
