"""A data set packed: its pictures in shards, an index beside them, everything else as it is.

A shard is complete or not there, and so is the index, which comes last. Until then the rows of
finished shards wait in hidden files, so the same command goes on where an earlier one ended.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

from vlp_fast.data.given_paths import lies_in
from vlp_fast.data.printable import printable
from vlp_fast.data.store.meter import Meter
from vlp_fast.data.store.packing_plan import PackingPlan, plan_packing
from vlp_fast.data.store.shard_file import write_shard
from vlp_fast.data.store.shard_index import INDEX, ShardIndex, joined, read_index
from vlp_fast.errors import InputError
from vlp_fast.whole_file import write_json, write_whole

PLAN = "packing.json"
"""Of a folder that is packed, or being packed: the digest of what goes into it."""
Say = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What was done.

    Attributes:
        pictures: in the shards.
        broken: of these, how many have no header that can be read.
        shards: how many.
        size: bytes of the pictures.
        is_new: whether anything was left to be done.
    """

    pictures: int
    broken: int
    shards: int
    size: int
    is_new: bool


def pack(
    source: Path,
    out: Path,
    *,
    shard_bytes: int = 2**30,
    workers: int = 2,
    say: Say = lambda line: None,
) -> Packed:
    """Pack a folder, or go on with it.

    Args:
        source: images and annotations, in any layout.
        out: the folder to make; or one that an earlier call with the same arguments began.
        shard_bytes: of the pictures of one shard, at most.
        workers: shards that are written at once, by a thread each.
        say: gets lines about progress.

    Raises:
        InputError: if the folders are none, hold other things, or a file cannot be read or written.
    """
    if lies_in(out, source) or lies_in(source, out):
        raise InputError(
            f"{printable(out)}: is a part of {printable(source)}, or the other way round; give a "
            "folder beside it"
        )
    plan = plan_packing(source, shard_bytes)
    for name in plan.left:
        say(f"{printable(name)} is an archive and stays where it is")
    try:
        is_new = _begin(out, plan)
        if is_new:
            _Packer(source, out, plan, say).pack(workers)
        for rows in out.glob(".shard-*.rows"):
            rows.unlink()
    except OSError as error:
        raise InputError(
            f"{printable(error.filename or out)}: {error.strerror or error}; free some space or "
            "repair it, and the same command goes on"
        ) from None
    index, names = read_index(out / INDEX)
    broken = int((index.width == 0).sum())
    size = int(index.size.sum())
    return Packed(pictures=len(index), broken=broken, shards=len(names), size=size, is_new=is_new)


class _Packer:
    """The work itself."""

    def __init__(self, source: Path, out: Path, plan: PackingPlan, say: Say) -> None:
        self._source, self._out, self._plan = source, out, plan
        self._meter = Meter("packing", plan.total, say)
        self._stop = Event()

    def pack(self, workers: int) -> None:
        """Write what is not there yet: shards, copies, and at last the index."""
        self._copy()
        numbers = range(len(self._plan.shards))
        executor = ThreadPoolExecutor(workers)
        try:
            parts = list(executor.map(self._shard, numbers))
        finally:
            self._stop.set()  # of an error or Ctrl-C: what is being written is given up
            executor.shutdown(cancel_futures=True)
        joined(parts).write(
            self._out / INDEX, [self._plan.shard_name(number) for number in numbers]
        )

    def _shard(self, number: int) -> ShardIndex:
        """Rows of a shard, which is written if it is not there."""
        path, rows = self._out / self._plan.shard_name(number), self._rows(number)
        done = _finished(path, rows)
        if done is not None:
            self._meter.add(int(done.size.sum()))
            return done
        made: list[ShardIndex] = []
        names = self._plan.shards[number]

        def write(unnamed: Path) -> None:
            made.append(write_shard(unnamed, self._source, names, number, self._tell))
            made[0].write(rows, [path.name])  # before the shard has its name

        write_whole(path, write)
        return made[0]

    def _tell(self, size: int) -> None:
        if self._stop.is_set():
            raise InterruptedError("stopped")
        self._meter.add(size)

    def _rows(self, number: int) -> Path:
        return self._out / f".{self._plan.shard_name(number)}.rows"

    def _copy(self) -> None:
        for name in self._plan.copied:
            old, new = self._source / name, self._out / name
            if new.exists() and _state(new) == _state(old):
                continue
            new.parent.mkdir(parents=True, exist_ok=True)
            write_whole(new, partial(shutil.copy2, old))


def _begin(out: Path, plan: PackingPlan) -> bool:
    """Whether anything is to be done in a folder, which then says what it is for."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / PLAN).exists():
        if any(out.iterdir()):
            raise InputError(f"{printable(out)}: is not empty; give a folder that is to be made")
        write_json(out / PLAN, {"digest": plan.digest})
    if _digest(out / PLAN) != plan.digest:
        raise InputError(
            f"{printable(out)}: was packed from other files, or in shards of another size; delete "
            "it or give another folder"
        )
    return not (out / INDEX).exists()


def _digest(path: Path) -> object:
    try:
        said = json.loads(path.read_bytes())
    except ValueError:
        return None
    return said.get("digest") if isinstance(said, dict) else None


def _finished(path: Path, rows: Path) -> ShardIndex | None:
    """Rows of a shard that an earlier call wrote; None if it did not."""
    if not path.exists():
        return None
    try:
        return read_index(rows)[0]
    except (FileNotFoundError, InputError):
        return None


def _state(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns
