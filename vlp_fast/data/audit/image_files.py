"""Every image file decoded, as training decodes it, by several processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from stat import S_ISREG
from typing import BinaryIO

from vlp_fast.data.audit.cache import Look, LookCache, State, state_of
from vlp_fast.data.broken_image import BrokenImage, TooLargeImage
from vlp_fast.data.header import opened, read_header
from vlp_fast.data.images import read_image
from vlp_fast.data.picture_file import PictureFile
from vlp_fast.data.printable import printable
from vlp_fast.data.worker import CAN_FORK, Worker, answers

AT_ONCE = 32
"""Files that a process is asked for: a request costs as much as a hundredth of them."""
RELIEF = "lower --workers or --max-pixels"
BLOCK = 2**20
"""Bytes of a file that are read at once."""
States = list[tuple[PictureFile, State]]


def look_at_all(
    paths: Iterable[PictureFile],
    cache: LookCache,
    *,
    max_pixels: int,
    workers: int,
    progress: Callable[[int, int], None],
) -> dict[PictureFile, Look]:
    """Look at files, but for those that are known.

    Args:
        paths: the files; one that is given twice is looked at once.
        cache: what is known; it is told what is new, and saved whatever happens.
        max_pixels: files that declare more are not decoded.
        workers: processes; 0: this one.
        progress: is called with how many are done, and how many there are.
    """
    wanted = dict.fromkeys(paths)
    looks: dict[PictureFile, Look] = {}
    unknown: States = []
    for path in wanted:
        try:
            state = state_of(path)
        except OSError as error:  # since the folder was listed
            looks[path] = Look(kind="unreadable", problem=error.strerror or "cannot be read")
            continue
        known = cache.get(state, max_pixels)
        if known is None:
            unknown.append((path, state))
        else:
            looks[path] = known
    parts = [unknown[i : i + AT_ONCE] for i in range(0, len(unknown), AT_ONCE)]
    try:
        for part, found in zip(parts, _looked_at(parts, max_pixels, workers), strict=True):
            for (path, state), look in zip(part, found, strict=True):
                looks[path] = look
                cache.put(state, look)
            progress(len(looks), len(wanted))
    finally:
        cache.save()
    return looks


def look_at(path: PictureFile, max_pixels: int) -> Look:
    """Look at one file: its header, its content, its pixels.

    Raises:
        InputError: if there is no memory to decode it.
    """
    try:
        state = path.stat()
        if S_ISREG(state.st_mode) and state.st_size == 0:
            return Look(kind="empty", problem="has no content")
        with opened(path, max_pixels) as (image, file):
            raster = read_header(image, max_pixels)
            form = image.format or ""
            file.seek(0)
            digest = _digest(file)
    except TooLargeImage as error:
        return Look(kind="too large", problem=_reason(error, path))
    except (BrokenImage, OSError) as error:
        return Look(kind="unreadable", problem=_reason(error, path))
    height, width = raster.stored_size
    kind = problem = ""
    try:
        read_image(path, max_pixels=max_pixels)
    except BrokenImage as error:
        kind, problem = "damaged", _reason(error, path)
    return Look(
        sha256=digest,
        format=form,
        height=height,
        width=width,
        orientation=raster.orientation,
        kind=kind,
        problem=problem,
    )


def _looked_at(parts: list[States], max_pixels: int, workers: int) -> Iterator[list[Look]]:
    def look(number: int) -> list[Look]:
        return [look_at(path, max_pixels) for path, _ in parts[number]]

    count = min(workers, len(parts))
    if not CAN_FORK or count < 2:
        yield from map(look, range(len(parts)))
        return
    with ExitStack() as at_end:
        processes = []
        for _ in range(count):
            processes.append(Worker(look, RELIEF))
            at_end.callback(processes[-1].close)
        yield from answers(processes, range(len(parts)))


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _reason(error: Exception, path: PictureFile) -> str:
    """What is wrong, without the path that is named anyway."""
    return str(error).removeprefix(f"{printable(path)}: ")
