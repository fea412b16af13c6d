"""What was read of a data set's annotation files, kept for the next start of a run.

An entry is a file of the user's cache folder. It serves as long as every file and folder that the
reader looked at is as it was, and the code that read them is; else it is passed over and replaced.
Small data sets are not kept: reading them takes no longer.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from vlp_fast import __version__
from vlp_fast.data.picture_file import PictureFile
from vlp_fast.data.record_table import Columns, RecordTable
from vlp_fast.data.records import Dataset, LeftOut
from vlp_fast.data.store.array_file import DamagedFile, read_arrays, write_arrays
from vlp_fast.data.store.consulted import Consulted, absolute_name, noting
from vlp_fast.data.store.packed import PackedPicture, PackedPictures
from vlp_fast.data.store.sample_rows import rows_of, samples_of
from vlp_fast.data.store.stored_files import StoredFiles
from vlp_fast.data.store.texts import Texts

SMALLEST = 2**24
"""Bytes of annotation files; less than this is read in half a second."""
OLDEST = 90 * 24 * 3600
"""Seconds after which an entry that nobody used is deleted, when another one is written."""
WORDS = (
    *("name", "collection", "class_names", "attribute_names", "notes", "box_remedy"),
    "is_unannotated",
)
"""What is kept of a data set besides its records."""
Arrays = dict[str, np.ndarray]
T = TypeVar("T")
_ARRAYS = tuple(field.name for field in fields(Columns) if field.name != "captions")


def entry_path(root: Path, **asked: object) -> Path:
    """Where the entry of a data set is, or would be: in `$XDG_CACHE_HOME`, or `~/.cache`.

    Args:
        root: its folder.
        asked: what else decides what is read.
    """
    said = json.dumps([absolute_name(root), asked], default=str, sort_keys=True)
    key = blake2b(said.encode(errors="surrogatepass"), digest_size=12).hexdigest()
    return _folder() / f"{key}.annotations"


def kept_or_read(root: Path, read: Callable[[], Dataset], **asked: object) -> Dataset:
    """Return a data set of a folder, read only if it is not kept, and then kept.

    Args:
        root: its folder.
        read: reads it.
        asked: what decides what is read.
    """
    path = entry_path(root, **asked)
    with uncollected():
        found = kept(path, root)
    if found is None:
        with noting() as noted, uncollected():
            dataset = read()
        found = replace(dataset, records=dataset.table)
        keep(path, found, root, noted)
    return found


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Of millions of new objects none is garbage, and looking for it takes half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def kept(path: Path, root: Path) -> Dataset | None:
    """Return a data set as it was read before; None where that is not known or no longer true."""
    return kept_arrays(path, lambda arrays, words: _dataset(arrays, words, root))


def keep(path: Path, dataset: Dataset, root: Path, noted: Consulted) -> None:
    """Keep a data set that was just read, if it is large; a full disk is no reason to stop."""
    if noted.read < SMALLEST or dataset.describes:
        return
    table = dataset.table.solid()
    arrays = {name: getattr(table.columns, name) for name in _ARRAYS}
    names = Texts.of(_stored_name(file, root) for file in table.files)
    is_packed = np.array([isinstance(file, PackedPicture) for file in table.files], dtype=bool)
    arrays |= {"letters": table.columns.captions.letters, "starts": table.columns.captions.starts}
    arrays |= {"name_letters": names.letters, "name_starts": names.starts, "is_packed": is_packed}
    arrays["samples"] = rows_of(dataset.samples)
    words: dict[str, Any] = {word: getattr(dataset, word) for word in WORDS}
    words["left_out"] = [asdict(one) for one in dataset.left_out]
    keep_arrays(path, arrays, words | {"end": table.columns.captions.end}, noted)


def kept_arrays(path: Path, made: Callable[[Arrays, dict[str, Any]], T]) -> T | None:
    """Return what is made of an entry's arrays and words; None where they are no longer true."""
    try:
        arrays, words = read_arrays(path)
        noted = Consulted(**words["consulted"])
        if words["code"] != _code() or not noted.is_as_it_was():
            return None
        value = made(arrays, words)
    except (OSError, DamagedFile, KeyError, TypeError, ValueError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return value


def keep_arrays(path: Path, arrays: Arrays, words: dict[str, Any], noted: Consulted) -> None:
    """Keep arrays and words of what was just read, if that was large."""
    if noted.read < SMALLEST:
        return
    words = words | {"code": _code(), "consulted": noted.words()}
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        _forget_oldest(path.parent)
        write_arrays(path, arrays, words)


def _dataset(arrays: dict[str, np.ndarray], words: dict[str, Any], root: Path) -> Dataset:
    captions = Texts(arrays["letters"], arrays["starts"], words["end"])
    columns = Columns(captions=captions, **{name: arrays[name] for name in _ARRAYS})
    names = Texts(arrays["name_letters"], arrays["name_starts"])
    files = StoredFiles(root, names, arrays["is_packed"], PackedPictures(root))
    said = {word: words[word] for word in WORDS}
    said |= {word: tuple(said[word]) for word in WORDS if isinstance(said[word], list)}
    left_out = (LeftOut(**one | {"examples": tuple(one["examples"])}) for one in words["left_out"])
    samples = samples_of(arrays["samples"])
    records = RecordTable(columns, files)
    return Dataset(records=records, samples=samples, left_out=tuple(left_out), **said)


def _stored_name(file: PictureFile, root: Path) -> str:
    if isinstance(file, PackedPicture):
        return file.full_name
    return str(cast("Path", file).relative_to(root))


def _folder() -> Path:
    stated = os.environ.get("XDG_CACHE_HOME", "")
    home = stated if stated.startswith("/") else os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(home) / "vlp_fast"


@lru_cache(maxsize=1)
def _code() -> str:
    """Digest of the code that reads annotation files and keeps what they say."""
    digest = blake2b(__version__.encode(), digest_size=16)
    data = Path(__file__).parents[1]
    patterns = ("record*.py", "sample*.py", "annotations.py", "sources/*.py", "store/*.py")
    for path in sorted(path for pattern in patterns for path in data.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _forget_oldest(folder: Path) -> None:
    for entry in folder.glob("*.annotations"):
        if time.time() - entry.stat().st_mtime > OLDEST:
            entry.unlink(missing_ok=True)
