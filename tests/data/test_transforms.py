import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlp_fast.data.transforms import canvas_of, pad_images, resize, resized

SIDE = st.integers(1, 20000)


@pytest.mark.parametrize(
    ("size", "shorter", "longer", "expected"),
    [
        ((480, 640), 800, 1333, (800, 1067)),
        ((640, 480), 800, 1333, (1067, 800)),
        ((480, 1280), 800, 1333, (500, 1333)),
        ((480, 640), 600, 1000, (600, 800)),
        ((300, 600), 600, 1000, (500, 1000)),
        ((100, 100), 600, None, (600, 600)),
        ((224, 337), None, None, (224, 337)),
        ((224, 337), None, 100, (66, 100)),
        ((1, 20000), 600, 1000, (1, 1000)),
        ((20000, 1), 600, 1000, (1000, 1)),
        ((1, 1), 600, 1000, (600, 600)),
    ],
)
def test_sizes_follow_the_papers_rule(
    size: tuple[int, int], shorter: int | None, longer: int | None, expected: tuple[int, int]
) -> None:
    assert resized(size, shorter, longer) == expected


@given(st.tuples(SIDE, SIDE), st.integers(1, 800), st.integers(1, 1333))
def test_sizes_keep_to_both_limits_and_reach_one(
    size: tuple[int, int], shorter: int, longer: int
) -> None:
    result = resized(size, shorter, longer)
    assert min(result) >= 1
    assert max(result) <= longer
    assert min(result) <= shorter
    assert max(result) == longer or min(result) == shorter


def test_resizing_averages_what_it_shrinks() -> None:
    """One white column in eight gives an eighth of white; without antialiasing none is seen."""
    stripes = torch.zeros(3, 64, 64, dtype=torch.uint8)
    stripes[:, :, ::8] = 255
    small = resize(stripes, (8, 8))
    assert small.shape == (3, 8, 8)
    assert small.dtype == torch.uint8
    assert (small[:, :, 1:-1].int() - 255 // 8).abs().max() <= 4
    same = resize(small, (8, 8))
    assert same is small


def test_padding_is_zero_and_at_the_right_and_bottom() -> None:
    images = [torch.full((3, 2, 5), 1).byte(), torch.full((3, 4, 3), 2).byte()]
    sizes = ((2, 5), (4, 3))
    batch = pad_images(images, canvas_of(sizes))
    assert batch.shape == (2, 3, 4, 5)
    assert batch.dtype == torch.uint8
    assert batch.is_contiguous(memory_format=torch.channels_last)
    for row, image, (h, w) in zip(batch, images, sizes, strict=True):
        assert torch.equal(row[:, :h, :w], image)
        assert row.sum() == image.sum()
    assert canvas_of(sizes, 8) == (8, 8)
    assert canvas_of(((16, 8), (9, 17)), 8) == (16, 24)
