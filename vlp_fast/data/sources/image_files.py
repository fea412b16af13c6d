"""Where the image files are, in folders or shards: listed once, not asked for each file."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PureWindowsPath

from vlp_fast.data.broken_image import BrokenImage
from vlp_fast.data.header import read_size
from vlp_fast.data.picture_file import PictureFile
from vlp_fast.data.printable import printable
from vlp_fast.data.sources.folders import names_in
from vlp_fast.data.sources.report import DataReport
from vlp_fast.data.store.consulted import saw_file
from vlp_fast.data.store.packed import PackedPictures
from vlp_fast.data.store.shard_index import INDEX
from vlp_fast.errors import InputError

NAMED = 5
"""Folders that a message names."""


class ImageFiles:
    """Finds files by name in candidate folders and keeps account of those that are missing.

    Args:
        root: folder of the data set.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._packed = PackedPictures(root)
        saw_file(root / INDEX)
        saw_file(root.parent / INDEX)
        self._packed_sizes: dict[PictureFile, tuple[int, int]] = {}
        self._names: dict[str, frozenset[str]] = {}
        self._loose: dict[str, frozenset[str]] = {}
        self._folded: dict[str, Mapping[str, str]] = {}
        self._refused: dict[str, str] = {}
        self._taken: dict[PictureFile, str] = {}
        self._missing: list[str] = []

    def find(self, folders: Iterable[str], names: Iterable[str]) -> PictureFile | None:
        """Return the file of an image, or None after counting it as missing.

        A name may have folders ("train2017/a.jpg", also with backslashes). What is not there as
        stated is looked for without its first folders, and last with other case and accents
        written otherwise ("a.JPG"; a Mac writes one letter as two). So found, a file is given to
        one name only: images of two folders must not both become the one that is there.

        Args:
            folders: relative to the root, in order of preference; those that lead out of it are
                passed over.
            names: file names the image may have, in order of preference.
        """
        names = tuple(names)
        inside = [folder for folder in folders if _is_inside(folder)]
        path = self._as_stated(inside, names) or self._alike(inside, names)
        if path is None or self._taken.setdefault(path, names[0]) != names[0]:
            self._missing.append(names[0])
            return None
        return path

    def has(self, folders: Iterable[str], names: Iterable[str]) -> bool:
        """Whether there is such a file.

        Raises:
            InputError: if it was not found and a folder may not be listed, so that nobody can say.
        """
        if self.find(folders, names) is not None:
            return True
        for refused in self._refused.values():
            raise InputError(refused)
        return False

    def settle(self, found: int, folders: Iterable[str], how: str, report: DataReport) -> None:
        """Complain about what was not found.

        Args:
            found: number of images that were.
            folders: where they were looked for, for the message.
            how: "error" or "drop".
            report: counts the dropped.

        Raises:
            InputError: if files are missing and `how` is "error", or all are missing, or a folder
                may not be listed, whose files nobody can call missing.
        """
        for name in self._missing:
            report.count("annotated images without a file dropped", name)
        if self._missing and (how == "error" or not found or self._refused):
            raise InputError(
                f"{self._root}: {len(self._missing)} of {found + len(self._missing)} annotated "
                f"images have no file, the first is {printable(self._missing[0])} (looked in "
                f"{self._places(folders)}); {self._remedy(found)}"
            )

    def size_of(self, found: PictureFile) -> tuple[int, int]:
        """Return (width, height) of a file that was found, as its header says.

        (1, 1) where it cannot be read: a broken file is reported when it is loaded.
        """
        saw_file(found)
        if found in self._packed_sizes:
            return self._packed_sizes[found]
        try:
            height, width = read_size(found)
        except BrokenImage:
            return 1, 1
        return width, height

    def _file(self, folder: str, name: str) -> PictureFile:
        if not self._packed:
            return self._root / folder / name
        full_name = (Path(folder) / name).as_posix()
        packed = self._packed.find(full_name)
        if packed is None or name in self._loose.get(str(Path(folder)), ()):
            return self._root / folder / name
        self._packed_sizes[packed] = self._packed.stored_size(full_name)
        return packed

    def _as_stated(self, folders: Sequence[str], names: Sequence[str]) -> PictureFile | None:
        for folder in folders:
            for name in names:
                if name in self._listed(folder):
                    return self._file(folder, name)
        return None

    def _alike(self, folders: Sequence[str], names: Sequence[str]) -> PictureFile | None:
        """The first file that could be meant."""
        places = [
            (f"{folder}/{parent}" if folder and parent else folder or parent, base)
            for name in names
            for parent, base in _tails(name)
            for folder in folders
        ]
        for folder, base in places:
            if base in self._listed(folder):
                return self._file(folder, base)
        for folder, base in places:
            name = self._listed_alike(folder).get(_fold(base))
            if name:
                return self._file(folder, name)
        return None

    def _listed(self, folder: str) -> frozenset[str]:
        names = self._names.get(folder)
        if names is None:
            usual = str(Path(folder))  # one listing, however the folder is spelt
            if usual not in self._names:
                self._names[usual] = self._list(usual)
            names = self._names[folder] = self._names[usual]
        return names

    def _list(self, folder: str) -> frozenset[str]:
        packed = self._packed.names(Path(folder).as_posix())
        try:
            self._loose[folder] = names_in(self._root / folder)
        except InputError as error:
            self._refused[folder] = str(error)
        return self._loose.get(folder, frozenset()) | packed

    def _listed_alike(self, folder: str) -> Mapping[str, str]:
        """The names of a folder by their folded form; empty where two have the same."""
        folder = str(Path(folder))
        if folder not in self._folded:
            by_form: dict[str, str] = {}
            for name in self._listed(folder):
                form = _fold(name)
                by_form[form] = "" if form in by_form else name
            self._folded[folder] = by_form
        return self._folded[folder]

    def _places(self, folders: Iterable[str]) -> str:
        inside = list(dict.fromkeys(str(Path(f)) for f in folders if _is_inside(f)))
        looked = ", ".join(printable(self._root / folder) for folder in inside[:NAMED])
        return looked + (f" and {len(inside) - NAMED} more" if len(inside) > NAMED else "")

    def _remedy(self, found: int) -> str:
        if self._refused:
            return next(iter(self._refused.values()))
        if found:
            return "complete the download, or leave them out with --data.missing-images drop"
        return "download the images, or give the folder that holds them with --data.root"


@lru_cache
def _is_inside(folder: str) -> bool:
    """Whether a folder that an annotation file names stays in the root it is put under."""
    path = Path(folder)
    return not path.anchor and ".." not in path.parts


def _tails(name: str) -> Iterator[tuple[str, str]]:
    """A name's (folder, file), from all of its folders to none; none that lead upwards."""
    # Windows' rules know both separators and drives.
    path = PureWindowsPath(name)
    parts = path.parts[1:] if path.anchor else path.parts
    upwards = [place for place, part in enumerate(parts) if part == ".."]
    parts = parts[upwards[-1] + 1 :] if upwards else parts
    for start in range(len(parts)):
        yield "/".join(parts[start:-1]), parts[-1]


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
