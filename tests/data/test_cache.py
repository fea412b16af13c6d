import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch

from vlp_fast.data import cache as caches
from vlp_fast.data.cache import ImageCache
from vlp_fast.data.records import Record
from vlp_fast.errors import InputError


def record_of(width: int, height: int) -> Record:
    return Record(
        image_id=0,
        path=Path("x"),
        width=width,
        height=height,
        captions=("x",),
        boxes=np.zeros((0, 4), dtype=np.float32),
        labels=np.zeros(0, dtype=np.int64),
        attributes=np.zeros(0, dtype=np.int64),
    )


SIZES = [(5, 7), (3, 2), (1, 1), (8, 4)]


def pixels_of(index: int) -> torch.Tensor:
    width, height = SIZES[index]
    return torch.full((3, height, width), index + 1, dtype=torch.uint8) + torch.arange(
        3, dtype=torch.uint8
    ).view(3, 1, 1)


def test_every_image_has_its_own_place() -> None:
    cache = ImageCache([record_of(*size) for size in SIZES])
    assert all(cache.get(i) is None for i in range(4))
    for i in (2, 0, 3):
        cache.put(i, pixels_of(i))
    assert cache.get(1) is None
    for i in (2, 0, 3):
        found = cache.get(i)
        assert found is not None
        assert torch.equal(found, pixels_of(i))


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="needs processes that fork"
)
def test_what_a_worker_puts_the_others_get() -> None:
    cache = ImageCache([record_of(*size) for size in SIZES])
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=cache.put, args=(3, pixels_of(3)))
    worker.start()
    worker.join()
    found = cache.get(3)
    assert found is not None
    assert torch.equal(found, pixels_of(3))


def test_more_than_memory_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"--data\.cache: .* GiB, more than a quarter.*--data\.no-cache"
    ):
        ImageCache([record_of(8000, 8000)] * 10**5)


def test_sizes_beyond_any_array_are_refused_and_the_largest_is_named() -> None:
    """Sums that overflow 64 bits, once to less than nothing and once to next to nothing."""
    for count in (1, 2, 4, 6):
        records = [record_of(5, 5), *[record_of(2**31 - 1, 2**31 - 1)] * count]
        with pytest.raises(InputError, match="the largest, x, is annotated as 2147483647x2147483"):
            ImageCache(records, max_pixels=2**62)
    with pytest.raises(InputError, match="more than a quarter"):
        ImageCache([record_of(2**31, 2**31)] * 4 + [record_of(5, 5)], max_pixels=2**62)


def test_sizes_beyond_the_cap_get_no_room() -> None:
    sizes = [(2**31 - 1, 2**31 - 1), *SIZES[:2], (8, 5), SIZES[3]]
    cache = ImageCache([record_of(*size) for size in sizes], max_pixels=35)
    cache.put(1, pixels_of(0))
    cache.put(4, pixels_of(3))
    assert [cache.get(i) is None for i in range(5)] == [True, False, True, True, False]
    for place, i in ((1, 0), (4, 3)):
        found = cache.get(place)
        assert found is not None
        assert torch.equal(found, pixels_of(i))


@pytest.mark.parametrize("version", [0, 1])
def test_the_memory_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """A quarter of 1,200 bytes is an image of 10x10; the other version's file is absent."""
    paths = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"
    monkeypatch.setattr(caches, "CONTAINER_LIMITS", paths)
    paths[version].write_text("1200\n")
    ImageCache([record_of(10, 10)])
    with pytest.raises(InputError, match="more than a quarter"):
        ImageCache([record_of(10, 10), record_of(1, 1)])
    for unlimited in ("max\n", "9223372036854771712\n"):
        paths[version].write_text(unlimited)
        ImageCache([record_of(10, 10)] * 4)


def test_memory_that_the_system_does_not_give_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(caches.mmap, "mmap", refuse)
    with pytest.raises(InputError, match=r"Cannot allocate memory\); use --data\.no-cache"):
        ImageCache([record_of(20, 10)])
