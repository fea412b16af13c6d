import io
import os
import struct
import sys
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, ImageOps

from vlp_fast.data.broken_image import BrokenImage, TooLargeImage
from vlp_fast.data.encoded import EncodedReader
from vlp_fast.data.header import read_size
from vlp_fast.data.images import read_image
from vlp_fast.data.upright import upright_boxes

GRADIENT = np.stack(
    np.broadcast_arrays(np.arange(0, 240, 10)[:, None], np.arange(0, 256, 8)[None, :], 77), axis=-1
).astype(np.uint8)
"""(24, 32, 3): red grows downwards, green to the right, blue is 77."""


def pixels_of(path: Path) -> np.ndarray:
    picture = read_image(path)
    assert picture.pixels.dtype == torch.uint8
    assert picture.pixels.size(0) == 3
    return picture.pixels.permute(1, 2, 0).numpy().astype(int)


def jpeg_bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def png_with_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and has next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "ppm"])
def test_lossless_formats_come_out_as_stored(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(GRADIENT).save(path, lossless=True)
    assert np.array_equal(pixels_of(path), GRADIENT)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff_comes_out_as_stored(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "image.tiff"
    Image.fromarray(GRADIENT).save(path, compression=compression)
    assert np.array_equal(pixels_of(path), GRADIENT)


def test_the_jpeg_of_a_phone_shows_its_first_picture(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    first, second = Image.fromarray(GRADIENT), Image.new("RGB", (32, 24), "red")
    first.save(path, format="MPO", save_all=True, append_images=[second], quality=95)
    with Image.open(path) as image:
        assert image.format == "MPO"
    assert np.abs(pixels_of(path) - GRADIENT).mean() < 5
    assert read_size(path) == (24, 32)


@pytest.mark.parametrize("kind", ["EPS", "ICO"])
def test_other_formats_are_not_opened_under_any_name(tmp_path: Path, kind: str) -> None:
    """EPS is a program for Ghostscript; ICO tells its size only when it is decoded."""
    path = tmp_path / "image.jpg"
    with path.open("wb") as file:
        Image.fromarray(GRADIENT).save(file, format=kind)
    for read in (read_image, read_size):
        with pytest.raises(BrokenImage, match=r"image\.jpg: is not an image that can be read"):
            read(path)


def test_more_pixels_than_pillow_opens_are_told_in_our_words(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(GRADIENT).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 30_000, 30_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    for read in (read_image, read_size, EncodedReader()):
        with pytest.raises(TooLargeImage) as caught:
            read(path)
        assert str(caught.value) == (
            f"{path}: the header declares 900000000 pixels, more than the 64000000 allowed; shrink "
            "it or raise --data.max-pixels N"
        )


def test_a_file_of_many_bytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(jpeg_bytes(Image.fromarray(GRADIENT)))
    with path.open("r+b") as file:
        file.truncate(2**30 + 1)
    tracemalloc.start()
    for read in (read_image, read_size, EncodedReader()):
        with pytest.raises(TooLargeImage, match=r"has 1,073,741,825 bytes, more than the 1,073,7"):
            read(path)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


def test_jpeg_is_close_to_what_was_stored_and_wrong_suffixes_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(jpeg_bytes(Image.fromarray(GRADIENT)))
    assert np.abs(pixels_of(path) - GRADIENT).mean() < 5


def test_grey_modes_repeat_their_value(tmp_path: Path) -> None:
    grey = GRADIENT[..., 0]
    Image.fromarray(grey).save(tmp_path / "l.png")
    Image.fromarray(grey).convert("1", dither=Image.Dither.NONE).save(tmp_path / "1.png")
    assert np.array_equal(pixels_of(tmp_path / "l.png"), np.repeat(grey[..., None], 3, axis=2))
    assert set(np.unique(pixels_of(tmp_path / "1.png"))) == {0, 255}


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    """Pillow's own conversion would clip everything above 255 to white."""
    deep = GRADIENT[..., 0].astype(np.uint16) * 256 + 99
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(pixels_of(tmp_path / "deep.png")[..., 1], GRADIENT[..., 0])
    Image.fromarray(deep.astype(">u2")).save(tmp_path / "deep.tiff")
    assert np.array_equal(pixels_of(tmp_path / "deep.tiff")[..., 1], GRADIENT[..., 0])


def test_thirty_two_bits_are_clipped_to_sixteen(tmp_path: Path) -> None:
    values = np.array([[-(2**31), -1, 0, 255, 256, 65535, 65536, 2**31 - 1]], dtype=np.int32)
    Image.fromarray(values).save(tmp_path / "deep.tiff")
    assert pixels_of(tmp_path / "deep.tiff")[0, :, 0].tolist() == [0, 0, 0, 0, 1, 255, 255, 255]


def test_sixteen_bits_take_a_few_bytes_a_pixel(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.zeros((1000, 1000), dtype=np.uint16)).save(path)
    read_image(path)
    tracemalloc.start()
    read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * 10**6


def test_cmyk_and_palette_become_rgb(tmp_path: Path) -> None:
    Image.fromarray(GRADIENT).convert("CMYK").save(tmp_path / "c.jpg", quality=100, subsampling=0)
    Image.fromarray(GRADIENT).quantize(256).save(tmp_path / "p.png")
    assert np.abs(pixels_of(tmp_path / "c.jpg") - GRADIENT).mean() < 4
    assert np.abs(pixels_of(tmp_path / "p.png") - GRADIENT).mean() < 8


def test_transparency_shows_white(tmp_path: Path) -> None:
    alpha = np.zeros((24, 32, 1), dtype=np.uint8)
    alpha[12:] = 255
    Image.fromarray(np.concatenate([GRADIENT, alpha], axis=2)).save(tmp_path / "rgba.png")
    shown = pixels_of(tmp_path / "rgba.png")
    assert (shown[:12] == 255).all()
    assert np.array_equal(shown[12:], GRADIENT[12:])
    grey = Image.fromarray(np.concatenate([GRADIENT[..., :1], alpha], axis=2))
    grey.save(tmp_path / "la.png")
    assert (pixels_of(tmp_path / "la.png")[:12] == 255).all()
    palette = Image.fromarray(GRADIENT).quantize(8)
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((0, 0)))
    assert (pixels_of(tmp_path / "p.png")[0, 0] == 255).all()


def test_animations_show_their_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (pixels_of(tmp_path / "a.gif") == [255, 0, 0]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_pixels_and_boxes_as_pillow_does(
    tmp_path: Path, orientation: int
) -> None:
    """A white rectangle on black: the box around it must be where the white is."""
    raster = np.zeros((24, 32, 3), dtype=np.uint8)
    raster[4:10, 20:28] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(raster).save(path, exif=exif)
    picture = read_image(path)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert np.array_equal(picture.pixels.permute(1, 2, 0).numpy(), expected)
    assert (picture.orientation, picture.stored_size) == (orientation, (24, 32))

    stored = np.array([[20.0, 4.0, 28.0, 10.0]])
    fractions = upright_boxes(stored, (24, 32), picture, path)[0]
    height, width = expected.shape[:2]
    white = np.argwhere(expected[..., 0] == 255)
    (top, left), (bottom, right) = white.min(axis=0), white.max(axis=0) + 1
    np.testing.assert_allclose(
        fractions, [left / width, top / height, right / width, bottom / height], atol=1e-6
    )


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_truncated_files_are_broken(tmp_path: Path, kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format=kind)
    path = tmp_path / "cut.jpg"
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
    with pytest.raises(BrokenImage) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an image"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "not an image"),
        (b"\xff\xd8\xff\xe0" + bytes(500), ""),
        (b"%PDF-1.4 whatever", "not an image"),
        (png_with_header(30000, 30000), "900000000 pixels"),
        (png_with_header(2**31 - 1, 2**31 - 1), ""),
        (png_with_header(8001, 8000), "8001x8000 pixels, more than the 64000000 allowed"),
        (png_with_header(500, 500), ""),
    ],
    ids=["empty", "html", "jpeg", "pdf", "30000", "2**31", "64MP", "no data"],
)
def test_files_that_are_no_pictures_are_broken(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    with pytest.raises(BrokenImage) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


def test_a_huge_header_is_refused_before_anything_else_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither are pixels decoded, nor is the file, of 256 MiB, taken into memory."""

    def load(*_: object) -> None:
        raise AssertionError("decoded")

    path = tmp_path / "huge.png"
    path.write_bytes(png_with_header(8100, 8100))
    os.truncate(path, 2**28)
    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    tracemalloc.start()
    with pytest.raises(BrokenImage, match=r"8100x8100 pixels, more than the 64000000 allowed"):
        read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    """A device without an end would fill the memory; a pipe without a writer is waited for."""
    device, pipe = tmp_path / "device.jpg", tmp_path / "pipe.jpg"
    device.symlink_to(os.devnull)
    os.mkfifo(pipe)
    for path in (device, pipe):
        for read in (read_image, read_size):
            with pytest.raises(BrokenImage, match="is a pipe or a device, not a file; put the im"):
                read(path)


def test_a_name_with_control_characters_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "a\n\x1b[2J.jpg"
    path.write_bytes(b"")
    with pytest.raises(BrokenImage) as caught:
        read_image(path)
    assert str(caught.value).isprintable()
    assert r"/a\n\x1b[2J.jpg: is not an image" in str(caught.value)


def test_the_cap_is_exact(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    path = write_image(tmp_path / "a.png", (20, 10))
    assert read_image(path, max_pixels=200).stored_size == (10, 20)
    with pytest.raises(BrokenImage, match=r"--data\.max-pixels N"):
        read_image(path, max_pixels=199)


def test_missing_files_and_folders_are_broken(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in (("absent.jpg", "No such file"), ("folder.jpg", "directory")):
        with pytest.raises(BrokenImage, match=reason):
            read_image(tmp_path / name)
        with pytest.raises(BrokenImage, match=reason):
            read_size(tmp_path / name)


@pytest.mark.parametrize("size", [(1, 1), (1, 20000), (20000, 1)])
def test_extreme_shapes_are_read(
    tmp_path: Path, write_image: Callable[..., Path], size: tuple[int, int]
) -> None:
    path = write_image(tmp_path / "a.png", size)
    assert (pixels_of(path) == [9, 90, 190]).all()
    assert read_size(path) == (size[1], size[0])


def test_damaged_exif_does_not_hide_the_picture(tmp_path: Path) -> None:
    clean = jpeg_bytes(Image.fromarray(GRADIENT))
    segment = b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff" + bytes(20)
    damaged = clean[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + clean[2:]
    path = tmp_path / "exif.jpg"
    path.write_bytes(damaged)
    assert read_image(path).orientation == 1


def test_random_damage_gives_pixels_or_the_one_error(tmp_path: Path) -> None:
    """Flipped bytes anywhere: either it decodes to its size, or it is broken, nothing else."""
    random = np.random.default_rng(1)
    path = tmp_path / "damaged.jpg"
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP"):
        buffer = io.BytesIO()
        Image.fromarray(GRADIENT).save(buffer, format=kind)
        for _ in range(60):
            content = bytearray(buffer.getvalue())
            for place in random.integers(len(content), size=4):
                content[place] = random.integers(256)
            path.write_bytes(content)
            try:
                picture = read_image(path, max_pixels=10**6)
            except BrokenImage as error:
                assert str(path) in str(error)
            else:
                assert picture.pixels.dtype == torch.uint8
                assert picture.pixels.dim() == 3


def test_real_photographs_decode_at_their_annotated_size(shared_data: Path) -> None:
    paths = sorted((shared_data / "coco" / "images").iterdir())[:40]
    for path in paths:
        picture = read_image(path)
        assert picture.stored_size == read_size(path)
        assert np.array_equal(pixels_of(path), np.asarray(Image.open(path).convert("RGB")))


def test_threads_that_read_leave_warnings_as_they_were(
    tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    path = write_image(tmp_path / "a.png", (8, 8))
    before, interval = list(warnings.filters), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [Thread(target=lambda: [read_size(path) for _ in range(300)]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert list(warnings.filters) == before
