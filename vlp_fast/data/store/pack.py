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
from vlp_fast.data.store.packed import ELSEWHERE
from vlp_fast.data.store.packing_plan import PLAN, PackingPlan, plan_packing
from vlp_fast.data.store.shard_file import write_shard
from vlp_fast.data.store.shard_index import INDEX, ShardIndex, joined, read_index
from vlp_fast.errors import InputError
from vlp_fast.whole_file import write_json, write_whole

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
        say(f"{printable(name)} stays where it is: an archive, or part of a packed data set")
    try:
        _begin(out, plan)
        is_new = _Packer(source, out, plan, say).pack(workers)
        for rows in out.glob(".shard-*.rows"):
            rows.unlink()
    except OSError as error:
        where = error.filename2 or error.filename or out  # of a copy, the first is its source
        raise InputError(
            f"{printable(where)}: {error.strerror or error}; free some space or repair it, and the "
            "same command goes on"
        ) from None
    index, names = read_index(out / INDEX)
    broken = int((index.width == 0).sum())
    size = int(index.size.sum())
    return Packed(pictures=len(index), broken=broken, shards=len(names), size=size, is_new=is_new)


class _Packer:
    """The work itself."""

    def __init__(self, source: Path, out: Path, plan: PackingPlan, say: Say) -> None:
        self._source, self._out, self._plan = source, out, plan
        self._names = [plan.shard_name(number) for number in range(len(plan.shards))]
        self._done = self._finished()
        before = sum(int(rows.size.sum()) for rows in self._done.values())
        self._meter = Meter("packing", plan.total, say, done=before)
        self._stop = Event()

    def pack(self, workers: int) -> bool:
        """Write what is not there yet: shards, copies, and at last the index.

        Returns:
            Whether there was anything.
        """
        copied = self._copy()
        numbers = range(len(self._plan.shards))
        if len(self._done) == len(numbers) and (self._out / INDEX).exists():
            return copied > 0
        executor = ThreadPoolExecutor(workers)
        try:
            parts = list(executor.map(self._shard, numbers))
        finally:
            self._stop.set()  # of an error or Ctrl-C: what is being written is given up
            executor.shutdown(cancel_futures=True)
        joined(parts).write(self._out / INDEX, self._names)
        return True

    def _shard(self, number: int) -> ShardIndex:
        """Rows of a shard, which is written if it is not there."""
        if number in self._done:
            return self._done[number]
        path, rows = self._out / self._names[number], self._rows(number)
        made: list[ShardIndex] = []
        names = self._plan.shards[number]

        def write(unnamed: Path) -> None:
            made.append(write_shard(unnamed, self._source, names, number, self._tell))
            made[0].write(rows, self._names)  # before the shard has its name

        write_whole(path, write)
        return made[0]

    def _tell(self, size: int) -> None:
        if self._stop.is_set():
            raise InterruptedError("stopped")
        self._meter.add(size)

    def _rows(self, number: int) -> Path:
        return self._out / f".{self._names[number]}.rows"

    def _finished(self) -> dict[int, ShardIndex]:
        """Rows of the shards that earlier calls wrote, and that are as they were."""
        known = _read(self._out / INDEX)
        is_elsewhere = known is not None and (self._out / ELSEWHERE).exists()
        done = {}
        for number, names in enumerate(self._plan.shards):
            rows = known.of_shard(number) if known else _read(self._rows(number))
            path = self._out / self._names[number]
            if rows is None or tuple(rows.names) != names:
                continue
            if is_elsewhere or _size(path) == rows.shard_sizes(number + 1)[number]:
                done[number] = rows
        return done

    def _copy(self) -> int:
        """Copy what is no picture and not there as it is; return how much that was."""
        copied = 0
        for name in self._plan.copied:
            old, new = self._source / name, self._out / name
            if new.exists() and _state(new) == _state(old):
                continue
            new.parent.mkdir(parents=True, exist_ok=True)
            write_whole(new, partial(shutil.copy2, old))
            copied += 1
        return copied


def _begin(out: Path, plan: PackingPlan) -> None:
    """Let a folder say what it is for."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / PLAN).exists():
        if any(not path.name.startswith(".") for path in out.iterdir()):
            raise InputError(f"{printable(out)}: is not empty; give a folder that is to be made")
        write_json(out / PLAN, {"digest": plan.digest})
    if _digest(out / PLAN) != plan.digest:
        raise InputError(
            f"{printable(out)}: was packed from other files, or in shards of another size; delete "
            "it or give another folder"
        )


def _digest(path: Path) -> object:
    try:
        said = json.loads(path.read_bytes())
    except ValueError:
        return None
    return said.get("digest") if isinstance(said, dict) else None


def _read(path: Path) -> ShardIndex | None:
    """An index, if it is there and whole."""
    try:
        return read_index(path)[0]
    except (FileNotFoundError, InputError):
        return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def _state(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns
