"""What Pillow does of itself in some formats: it turns, clips to black, refuses by its limit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from vlp_fast.data.broken_image import BrokenImage, memory_for
from vlp_fast.data.examples import ImageLoader
from vlp_fast.data.header import read_size
from vlp_fast.data.images import read_image
from vlp_fast.data.records import Dataset, Record
from vlp_fast.data.upright import upright_boxes
from vlp_fast.errors import InputError

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
)
STORED = np.zeros((24, 32, 3), dtype=np.uint8)
STORED[4:10, 20:28] = 255
"""A white rectangle, (20, 4, 28, 10), on black."""
UPRIGHT = {
    1: STORED,
    2: STORED[:, ::-1],
    3: STORED[::-1, ::-1],
    4: STORED[::-1],
    5: STORED.transpose(1, 0, 2),
    6: STORED.transpose(1, 0, 2)[:, ::-1],
    7: STORED.transpose(1, 0, 2)[::-1, ::-1],
    8: STORED.transpose(1, 0, 2)[::-1],
}


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


WAYS: dict[str, Callable[[int], dict[str, Any]]] = {
    "tiff": lambda o: {"format": "TIFF", "tiffinfo": {274: o}},
    "tiff, compressed": lambda o: {
        "format": "TIFF",
        "tiffinfo": {274: o},
        "compression": "tiff_lzw",
    },
    "tiff, xmp": lambda o: {"format": "TIFF", "tiffinfo": {700: XMP % o}},
    "png": lambda o: {"format": "PNG", "exif": exif(o)},
    "webp": lambda o: {"format": "WEBP", "exif": exif(o), "lossless": True},
    "webp, xmp": lambda o: {"format": "WEBP", "xmp": XMP % o, "lossless": True},
    "jpeg": lambda o: {"format": "JPEG", "exif": exif(o), "quality": 100, "subsampling": 0},
    "mpo": lambda o: {
        "format": "MPO",
        "exif": exif(o),
        "quality": 100,
        "subsampling": 0,
        "save_all": True,
        "append_images": [Image.new("RGB", (32, 24), "red")],
    },
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("way", WAYS)
def test_every_format_is_turned_once_with_its_boxes(
    tmp_path: Path, way: str, orientation: int
) -> None:
    path = tmp_path / "turned"
    Image.fromarray(STORED).save(path, **WAYS[way](orientation))
    picture = read_image(path)
    expected = UPRIGHT[orientation]
    shown = picture.pixels.permute(1, 2, 0).numpy()
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).max() < 64  # JPEG rings at the edges
    assert (picture.orientation, picture.stored_size) == (orientation, (24, 32))
    assert read_size(path) == (24, 32)

    boxes = upright_boxes(np.array([[20.0, 4.0, 28.0, 10.0]]), (24, 32), picture, path)[0]
    height, width = expected.shape[:2]
    white = np.argwhere(expected[..., 0] == 255)
    (top, left), (bottom, right) = white.min(axis=0), white.max(axis=0) + 1
    exact = [left / width, top / height, right / width, bottom / height]
    np.testing.assert_allclose(boxes, exact, atol=1e-6)


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_floats_are_fractions_or_bytes(tmp_path: Path, top: float) -> None:
    values = np.array([[0, 0.2, 0.4, 1]], dtype=np.float32) * np.float32(top)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    assert read_image(tmp_path / "a.tiff").pixels[1, 0].tolist() == [0, 51, 102, 255]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [(-0.5, "from -0.5 to 1"), (300, "from 0 to 300"), (np.nan, "nan"), (np.inf, "to inf")],
)
def test_floats_of_no_known_range_are_told(tmp_path: Path, odd: float, reason: str) -> None:
    Image.fromarray(np.array([[0, 1, odd]], dtype=np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(BrokenImage, match=r"a\.tiff: has float pixels") as caught:
        read_image(tmp_path / "a.tiff")
    assert reason in str(caught.value)
    assert "save it with 8 or 16 bits" in str(caught.value)


def test_bytes_in_thirty_two_bits_are_not_black(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 7, 255]], dtype=np.int32)).save(tmp_path / "a.tiff")
    assert read_image(tmp_path / "a.tiff").pixels[0, 0].tolist() == [0, 7, 255]


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp", "gif", "jpg", "bmp"])
def test_the_cap_may_exceed_the_limit_of_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Which refuses twice its own limit whatever is asked for."""
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (30, 20)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BrokenImage, match="600 pixels"):
        read_image(path, max_pixels=100)
    assert read_image(path, max_pixels=600).pixels.shape == (3, 20, 30)


def test_a_limit_that_was_lifted_is_not_set_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    for limit in (None, 10**9):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        read_image(tmp_path / "a.png")
        assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError("out of memory error when reading image file"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_decoding_out_of_memory_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """And is not taken for a broken image, in whose place another would be shown."""

    def load(*_: object) -> None:
        raise error

    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(InputError, match=r"a\.png: there is not enough memory") as caught:
        read_image(tmp_path / "a.png")
    assert not isinstance(caught.value, BrokenImage)


def test_resizing_out_of_memory_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_image: Callable[..., Path]
) -> None:
    empty = np.zeros(0, dtype=np.int64)
    record = Record(
        image_id=1,
        path=write_image(tmp_path / "a.png"),
        width=20,
        height=10,
        captions=("a",),
        boxes=np.zeros((0, 4), dtype=np.float32),
        labels=empty,
        attributes=empty,
    )
    dataset = Dataset(name="one", records=(record,), class_names=(), attribute_names=())
    loader = ImageLoader(dataset=dataset, shorter=(10**9,), longer=10**9, seed=0)
    with pytest.raises(InputError, match=r"a\.png: there is not enough memory"):
        loader.load(0, 0)


def test_other_errors_of_torch_stay_bugs() -> None:
    with (
        pytest.raises(RuntimeError, match="must match"),
        memory_for(Path("a.png")),
    ):
        torch.zeros(2) + torch.zeros(3)
