"""Image files that decoders disagree about: every format, orientation and kind of damage."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, __version__

SIZE = (61, 43)
"""(width, height)."""
BROKEN = ("truncated.jpg", "one_byte_short.jpg", "empty.jpg", "text.jpg", "huge.jpg", "cut.png")
"""What `read_image` refuses of the files below."""

READS_YCBCR = int(__version__.split(".")[0]) >= 13
"""Pillow 12 calls such a TIFF truncated."""


def photograph(seed: int = 0) -> Image.Image:
    """Smooth enough to be a picture, uneven enough that every error shows."""
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    noise = draw.integers(-8, 9, (SIZE[1], SIZE[0], 3))
    large = np.asarray(small.resize(SIZE, Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((large + noise).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def hard_images() -> dict[str, bytes]:
    """Content by name."""
    image = photograph()
    jpeg = encoded(image, "JPEG", quality=90)
    return {
        "plain.jpg": jpeg,
        **_jpegs(image),
        **_others(image),
        **_transparent(image),
        **_damaged(jpeg, encoded(image, "PNG")),
    }


def _jpegs(image: Image.Image) -> dict[str, bytes]:
    files = {
        "progressive.jpg": encoded(image, "JPEG", quality=90, progressive=True),
        "grey.jpg": encoded(image.convert("L"), "JPEG", quality=90),
        "cmyk.jpg": encoded(_inks(image), "JPEG", quality=90),
        "restart.jpg": encoded(image, "JPEG", quality=90, restart_marker_rows=1),
        "rgb_kept.jpg": encoded(image, "JPEG", quality=90, keep_rgb=True),
        "two_pictures.jpg": encoded(
            image, "MPO", save_all=True, append_images=[image.resize((30, 20))]
        ),
        "exif_damaged.jpg": encoded(image, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
    }
    for subsampling in (0, 1, 2):
        options = {"quality": 90, "subsampling": subsampling}
        files[f"subsampling_{subsampling}.jpg"] = encoded(image, "JPEG", **options)
    for orientation in range(1, 10):  # 9 is none
        exif = Image.Exif()
        exif[0x0112] = orientation
        files[f"orientation_{orientation}.jpg"] = encoded(image, "JPEG", quality=90, exif=exif)
        files[f"orientation_{orientation}.png"] = encoded(image, "PNG", exif=exif)
        files[f"orientation_{orientation}.tif"] = encoded(image, "TIFF", exif=exif)
    return files


def _inks(image: Image.Image) -> Image.Image:
    """In four inks; Pillow's own conversion uses no black."""
    return Image.merge("CMYK", [*image.split(), image.convert("L")])


def _others(image: Image.Image) -> dict[str, bytes]:
    grey = np.asarray(image.convert("L"))
    return {
        "rgb.png": encoded(image, "PNG"),
        "one_bit.png": encoded(image.convert("1"), "PNG"),
        "palette.png": encoded(image.quantize(64), "PNG"),
        "grey_16.png": encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"),
        "integers.tif": encoded(Image.fromarray(grey.astype(np.int32) * 200), "TIFF"),
        "floats.tif": encoded(Image.fromarray(grey.astype(np.float32) / 255), "TIFF"),
        "wrong_filter.png": _wrong_filter(image),
        "lossy.webp": encoded(image, "WEBP", quality=80),
        "lossless.webp": encoded(image, "WEBP", lossless=True),
        "animated.webp": encoded(image, "WEBP", save_all=True, append_images=[image.rotate(180)]),
        "plain.gif": encoded(image, "GIF"),
        "rgb.bmp": encoded(image, "BMP"),
        "rgb.ppm": encoded(image, "PPM"),
        "rgb_of_100.ppm": b"P6 %d %d 100\n" % SIZE + (np.asarray(image) // 3).tobytes(),
        "grey_of_100.ppm": b"P5 %d %d 100\n" % SIZE + (grey // 3).tobytes(),
        "lzw.tif": encoded(image, "TIFF", compression="tiff_lzw"),
        "palette.tif": encoded(image.quantize(64), "TIFF"),
        **({"ycbcr.tif": encoded(image.convert("YCbCr"), "TIFF")} if READS_YCBCR else {}),
        "rgb_16.png": _png(_deep(image), depth=16),
    }


def _transparent(image: Image.Image) -> dict[str, bytes]:
    width, height = SIZE
    ramp = np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))
    colour, grey = image.copy(), image.convert("L")
    colour.putalpha(Image.fromarray(ramp))
    grey.putalpha(Image.fromarray(ramp))
    return {
        "alpha.png": encoded(colour, "PNG"),
        "alpha.webp": encoded(colour, "WEBP", quality=80),
        "grey_alpha.png": encoded(grey, "PNG"),
        "palette_transparent.png": encoded(image.quantize(64), "PNG", transparency=3),
    }


def _damaged(jpeg: bytes, png: bytes) -> dict[str, bytes]:
    scan = bytearray(jpeg)
    scan[len(scan) // 2 : len(scan) // 2 + 40] = bytes(40)
    return {
        "zeros_in_scan.jpg": bytes(scan),
        "gap.jpg": jpeg[:20] + b"\0\0" + jpeg[20:],  # between two segments
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "one_byte_short.jpg": jpeg[:-1],
        "empty.jpg": b"",
        "text.jpg": b"<html>404</html>",
        "huge.jpg": _declaring(jpeg, 30_000),
        "cut.png": png[: len(png) // 2],
    }


def _declaring(jpeg: bytes, side: int) -> bytes:
    """The JPEG with a header that declares so many pixels a side."""
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + struct.pack(">HH", side, side) + jpeg[place + 4 :]


def _deep(image: Image.Image) -> list[bytes]:
    """Rows of 16 bits a channel whose lower eight are not the upper ones; unfiltered."""
    upper = np.asarray(image).astype(np.uint16)
    values = upper << 8 | (upper * 7 + 128) & 255
    return [b"\0" + row.tobytes() for row in values.astype(">u2")]


def _wrong_filter(image: Image.Image) -> bytes:
    """A PNG whose first row names a filter that does not exist; Pillow reads it all the same."""
    rows = np.asarray(image)
    return _png([(b"\x07" if i == 0 else b"\0") + row.tobytes() for i, row in enumerate(rows)])


def _png(rows: list[bytes], depth: int = 8) -> bytes:
    """A PNG of RGB with so many bits a channel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        end = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + end

    header = struct.pack(">IIBBBBB", *SIZE, depth, 2, 0, 0, 0)
    body = zlib.compress(b"".join(rows))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts
