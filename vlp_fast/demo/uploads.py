"""Files of visitors: looked at by their headers, and decoded only where that is bounded.

A file of a few KB may declare a gigapixel. So gradio, which would decode what it is given, hands
on the path alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vlp_fast.data.broken_image import TooLargeImage
from vlp_fast.data.images import read_image
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError
from vlp_fast.inference.pictures import InMemory

BYTES = 20 * 2**20
"""Of a file."""
PIXELS = 64_000_000
"""That a file may declare."""


@dataclass(frozen=True)
class Upload:
    """A file that a visitor has sent.

    Attributes:
        path: where it lies.
        name: what the visitor calls it.
    """

    path: Path
    name: str


def upload_of(payload: Any) -> Upload | None:
    """What gradio received in a field for a picture; None if that is empty.

    It takes the place of `gradio.Image.preprocess`, which decodes; a picture that is written into
    the request itself has no file, and is none.
    """
    if payload is None or not payload.path:
        return None
    return Upload(Path(payload.path), payload.orig_name or Path(payload.path).name)


def pixels_of(upload: Upload) -> Tensor:
    """Decode a file.

    Returns:
        (3, H, W) uint8 RGB, upright.

    Raises:
        BrokenImage: if it is no picture, or damaged.
        InputError: if it declares too many pixels, or has too many bytes.
    """
    try:
        if upload.path.stat().st_size > BYTES:
            raise InputError(f"{printable(upload.name)}: has more than {BYTES:,} bytes; shrink it")
        file = InMemory(content=upload.path.read_bytes(), name=upload.name)
        return read_image(file, max_pixels=PIXELS).pixels
    except TooLargeImage:
        raise InputError(
            f"{printable(upload.name)}: declares more than the {PIXELS:,} pixels that are decoded "
            "here; shrink it"
        ) from None
    except OSError:
        raise InputError(f"{printable(upload.name)}: is gone; upload it again") from None
