"""The same picture, whatever holds it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vlp_fast.data.config import DataConfig
from vlp_fast.errors import InputError
from vlp_fast.inference.pictures import LONGEST, open_picture

OWN_SIZE = DataConfig(shorter_held_out=None, longer=None)


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8))


def encoded(picture: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG", **options)
    return stream.getvalue()


def test_all_kinds_have_the_same_pixels(picture: Image.Image, tmp_path: Path) -> None:
    pixels = np.asarray(picture)
    path = tmp_path / "picture.png"
    picture.save(path)
    kinds = [path, str(path), encoded(picture), bytearray(encoded(picture)), picture, pixels]
    kinds += [torch.from_numpy(pixels.copy()).permute(2, 0, 1), pixels[:, ::-1][:, ::-1]]
    kinds += [open_picture(picture, OWN_SIZE)]
    for kind in kinds:
        opened = open_picture(kind, OWN_SIZE)
        assert opened.size == (30, 40)
        np.testing.assert_array_equal(opened.example.pixels.permute(1, 2, 0), pixels)


def test_grey_and_transparent_pictures(picture: Image.Image) -> None:
    grey = np.asarray(picture.convert("L"))
    for kind in (grey, grey[:, :, None], torch.from_numpy(grey.copy())[None], picture.convert("L")):
        pixels = open_picture(kind, OWN_SIZE).example.pixels
        assert all(np.array_equal(channel, grey) for channel in pixels)
    clear = np.zeros((30, 40, 4), np.uint8)
    assert (open_picture(clear, OWN_SIZE).example.pixels == 255).all()


def test_a_picture_is_turned_upright(picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(picture, exif=exif.tobytes())
    for kind in (turned, Image.open(io.BytesIO(turned))):
        opened = open_picture(kind, OWN_SIZE)
        assert opened.size == (40, 30)
        expected = np.rot90(np.asarray(picture), -1)
        np.testing.assert_array_equal(opened.example.pixels.permute(1, 2, 0), expected)


def test_sizes_are_the_runs(picture: Image.Image) -> None:
    opened = open_picture(picture, DataConfig(shorter_held_out=(60,), longer=70))
    assert opened.example.size == (52, 70)
    assert opened.size == (30, 40)
    large = np.zeros((2, 3000), np.uint8)
    assert open_picture(large, OWN_SIZE).example.size == (1, LONGEST)


def test_a_truncated_file_that_pillow_opened(picture: Image.Image, tmp_path: Path) -> None:
    """Its pixels are read when they are asked for."""
    content = encoded(picture)
    (tmp_path / "half.png").write_bytes(content[: len(content) // 2])
    for kind in (Image.open(tmp_path / "half.png"), Image.open(io.BytesIO(content[:900]))):
        with pytest.raises(InputError, match=r"(half\.png|a picture): image file is truncated"):
            open_picture(kind, OWN_SIZE)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (3, TypeError, "received int as a picture, expected a path"),
        (np.zeros((2, 3)), ValueError, "dtype float64, expected uint8"),
        (torch.zeros(3, 4, 4), ValueError, "dtype float32, expected uint8"),
        (np.zeros((2, 2, 5), np.uint8), ValueError, r"array \(2, 2, 5\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r"array \(0, 4, 3\)"),
        (torch.zeros(1, 3, 4, 4), ValueError, "index a batch"),
        (b"", InputError, "bytes of a picture"),
        (b"no picture", InputError, "bytes of a picture"),
        (np.zeros((9000, 9000), np.uint8), InputError, "9000x9000 pixels"),
        (Image.new("RGB", (0, 5)), InputError, "0x5 pixels"),
        (Image.fromarray(np.full((2, 2), 1e5, np.float32)), InputError, "has float pixels"),
        ((path for path in ["a.png"]), TypeError, "received generator.*or a list of these"),
    ],
)
def test_what_is_no_picture(kind: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        open_picture(kind, OWN_SIZE)


def test_what_is_too_large_is_told_without_a_setting_of_training(picture: Image.Image) -> None:
    for kind in (encoded(picture), picture, np.asarray(picture)):
        with pytest.raises(InputError, match=r"; make it smaller$") as told:
            open_picture(kind, DataConfig(max_pixels=1199))
        assert "--data" not in str(told.value)
