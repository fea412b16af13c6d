"""Shards written: plain POSIX tar, which every tool unpacks and WebDataset reads.

Members are named as the pictures are in their folder, in the order that is given, and nothing but
name and bytes differs between them: no times, no owners, so equal pictures make equal shards.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vlp_fast.data.broken_image import BrokenImage
from vlp_fast.data.header import read_raster
from vlp_fast.data.store.shard_index import ShardIndex
from vlp_fast.data.store.texts import Texts
from vlp_fast.data.upright import Raster

BLOCK = tarfile.BLOCKSIZE
PART = 2**20
END = bytes(2 * BLOCK)
"""What every tar ends with."""


def write_shard(
    path: Path,
    source: Path,
    names: Sequence[str],
    number: int,
    tell: Callable[[int], object] = lambda size: None,
) -> ShardIndex:
    """Write one tar file, of no picture more than a part in memory.

    Args:
        path: of the tar file.
        source: folder of the pictures.
        names: of the pictures, relative to it.
        number: of the shard, for its rows.
        tell: is told the bytes of each picture once it is written.

    Returns:
        The rows of the pictures.

    Raises:
        OSError: if a picture cannot be read, or the file not be written.
    """
    offsets, sizes, rasters, digests = [], [], [], bytearray()
    with path.open("wb") as tar:
        for name in names:
            with (source / name).open("rb") as picture:
                size = os.fstat(picture.fileno()).st_size
                tar.write(_member(name, size))
                offsets.append(tar.tell())
                digests += _copy(picture, tar, size)
            sizes.append(size)
            rasters.append(_raster(source / name))
            tar.write(bytes(-size % BLOCK))
            tell(size)
        tar.write(END)
    return ShardIndex(
        names=Texts.of(names),
        shard=np.full(len(names), number, dtype=np.int32),
        offset=np.array(offsets, dtype=np.int64),
        size=np.array(sizes, dtype=np.int64),
        width=np.array([raster.stored_size[1] for raster in rasters], dtype=np.int32),
        height=np.array([raster.stored_size[0] for raster in rasters], dtype=np.int32),
        orientation=np.array([raster.orientation for raster in rasters], dtype=np.uint8),
        sha256=np.frombuffer(digests, dtype=np.uint8).reshape(-1, 32),
    )


def _copy(picture: BinaryIO, tar: BinaryIO, size: int) -> bytes:
    """Copy a picture of that size; return its SHA-256."""
    digest = hashlib.sha256()
    left = size
    while block := picture.read(PART):
        left -= len(block)
        digest.update(block)
        tar.write(block)
    if left:
        raise OSError(errno.EIO, "has changed while it was read", picture.name)
    return digest.digest()


def _member(name: str, size: int) -> bytes:
    """The header; of a name that is long or not ASCII with a block of POSIX's extension (pax)."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _raster(path: Path) -> Raster:
    """What the header says; a broken picture is packed as it is, for a run to report."""
    try:
        return read_raster(path)
    except BrokenImage:
        return Raster(stored_size=(0, 0), orientation=1)
