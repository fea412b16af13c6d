from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vlp_fast.data.examples import ImageLoader
from vlp_fast.data.records import Dataset, Record

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
