"""What is known of image files from an earlier check, so that the next one, or the rest, is quick.

Only good files are remembered: a broken one is looked at again, since the repair may leave its
size and time. A file counts as known while its size and time of change are the same.

The cache is json, replaced as a whole; one that is damaged, or of other decoders, is ignored.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vlp_fast.data.picture_file import PictureFile
from vlp_fast.data.printable import printable
from vlp_fast.data.store.packed import PackedPicture
from vlp_fast.data.store.shard import LocalShard
from vlp_fast.data.upright import UPRIGHT
from vlp_fast.whole_file import write_whole

NAME = ".vlp_fast_check.json"
"""Beside the data."""
EVERY = 10.0
"""Seconds between two savings: what a kill costs."""
FORMAT = "vlp_fast.check 1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What an image file is.

    Attributes:
        sha256: of the file, in hexadecimal digits; "" where it could not be read.
        format: Pillow's name, "" likewise.
        height, width: of the stored raster; 0 where it is not known.
        orientation: EXIF's, 1 is upright.
        kind: what is wrong, a key of `pictures.BROKEN`; "" of a good one.
        problem: in the words of a run.
    """

    sha256: str = ""
    format: str = ""
    height: int = 0
    width: int = 0
    orientation: int = 1
    kind: str = ""
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """Where an image file is, and by what a change of it shows.

    Attributes:
        path: of the file, or of the shard that holds it.
        member: its name in the shard, "" of a file by itself.
        size: bytes.
        changed: when the file or the shard was changed, in nanoseconds.
        is_certain: whether a change would show; not so behind a URL.
    """

    path: Path
    member: str = ""
    size: int
    changed: int
    is_certain: bool = True


def state_of(file: PictureFile) -> State:
    """The state of an image file; raises OSError if there is none."""
    if isinstance(file, PackedPicture):
        shard = file.parent
        if not isinstance(shard, LocalShard):
            return State(path=Path(str(shard)), size=file.size, changed=0, is_certain=False)
        changed = shard.path.stat().st_mtime_ns
        return State(path=shard.path, member=file.full_name, size=file.size, changed=changed)
    path = Path(str(file))
    stat = path.stat()
    return State(path=path, size=stat.st_size, changed=stat.st_mtime_ns)


class LookCache:
    """Looks by file, in one file for each folder or in one for all.

    Args:
        roots: the folders that image files lie in.
        file: the one file; None for one in each folder.

    Attributes:
        hits: files that were known.
        notes: what a person should know.
    """

    def __init__(self, roots: Sequence[Path], file: Path | None) -> None:
        self.hits = 0
        self._shelves = [_Shelf(file)] if file else [_Shelf(root / NAME) for root in roots]
        self._roots = [os.path.abspath(root) for root in roots]  # noqa: PTH100 links stay links
        self._saved_at = time.monotonic()
        self._refused: dict[str, None] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each file that could not be written."""
        return tuple(self._refused)

    def get(self, state: State, max_pixels: int) -> Look | None:
        """What is known of a file in this state."""
        look = self._shelf(state.path).get(state)
        if look is None or look.height * look.width > max_pixels:
            return None
        self.hits += 1
        return look

    def put(self, state: State, look: Look) -> None:
        """Remember a good file; now and then everything is saved."""
        if not look.kind and state.is_certain:
            self._shelf(state.path).put(state, look)
        if time.monotonic() - self._saved_at > EVERY:
            self.save()

    def save(self) -> None:
        """Write what has changed; where that is not possible, a note says so."""
        for shelf in self._shelves:
            try:
                shelf.save()
            except OSError as error:
                self._refused[
                    f"{printable(shelf.path)}: cannot be written ({error.strerror}), so the next "
                    "check begins anew; give --cache FILE"
                ] = None
        self._saved_at = time.monotonic()

    def _shelf(self, path: Path) -> _Shelf:
        if len(self._shelves) == 1:
            return self._shelves[0]
        here = os.path.abspath(path)  # noqa: PTH100 links stay links
        inside = (n for n, root in enumerate(self._roots) if here.startswith(root + os.sep))
        return self._shelves[next(inside, 0)]


class _Shelf:
    """One file of looks, by paths relative to its folder: it may move with the data."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = os.path.abspath(path.parent)  # noqa: PTH100 links stay links
        self._files = _read(path)
        self._has_changed = False

    def get(self, state: State) -> Look | None:
        row = self._files.get(self._key(state), ())
        try:
            size, changed, *rest = row
            look = Look(**dict(zip(_KEPT, rest, strict=True)))
        except (TypeError, ValueError):  # nothing is known, or damage
            return None
        is_same = state.is_certain and (size, changed) == (state.size, state.changed)
        return look if is_same and _is_sound(look) else None

    def put(self, state: State, look: Look) -> None:
        kept = asdict(look)
        row = [state.size, state.changed, *(kept[name] for name in _KEPT)]
        self._files[self._key(state)] = row
        self._has_changed = True

    def save(self) -> None:
        if not self._has_changed:
            return
        text = json.dumps({"format": FORMAT, "decoders": _decoders(), "files": self._files})
        write_whole(self.path, lambda partial: partial.write_text(text))
        self._has_changed = False

    def _key(self, state: State) -> str:
        path = os.path.relpath(state.path, self._folder)
        return f"{path}//{state.member}" if state.member else path


_KEPT = ("sha256", "format", "height", "width", "orientation")


def _read(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(state, dict) or not isinstance(state.get("files"), dict):
        return {}
    is_ours = state.get("format") == FORMAT and state.get("decoders") == _decoders()
    return state["files"] if is_ours else {}


def _decoders() -> str:
    return f"Pillow {version('pillow')}, torchvision {version('torchvision')}"


def _is_sound(look: Look) -> bool:
    numbers = (look.height, look.width, look.orientation)
    texts = (look.sha256, look.format)
    return (
        all(type(number) is int and number > 0 for number in numbers)
        and look.orientation in UPRIGHT
        and all(type(text) is str and text for text in texts)
    )
