"""Where the image files are: folders are listed once, not asked for each file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vlp_fast.data.printable import printable
from vlp_fast.data.sources.report import DataReport
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
        self._names: dict[str, frozenset[str]] = {}
        self._missing: list[str] = []

    def find(self, folders: Iterable[str], names: Iterable[str]) -> Path | None:
        """Return the first name that exists in the first folder that has any, else None.

        Args:
            folders: relative to the root, in order of preference; those that lead out of it are
                passed over.
            names: file names the image may have, in order of preference.
        """
        names = tuple(names)
        for folder in filter(_is_inside, folders):
            listed = self._listed(folder)
            for name in names:
                if name in listed:
                    return self._root / folder / name
        self._missing.append(names[0])
        return None

    def settle(self, found: int, folders: Iterable[str], how: str, report: DataReport) -> None:
        """Complain about what was not found.

        Args:
            found: number of images that were.
            folders: where they were looked for, for the message.
            how: "error" or "drop".
            report: counts the dropped.

        Raises:
            InputError: if files are missing and `how` is "error", or if all are missing.
        """
        for name in self._missing:
            report.count("annotated images without a file dropped", name)
        if self._missing and (how == "error" or not found):
            inside = list(dict.fromkeys(str(Path(f)) for f in folders if _is_inside(f)))
            looked = ", ".join(printable(self._root / folder) for folder in inside[:NAMED])
            looked += f" and {len(inside) - NAMED} more" if len(inside) > NAMED else ""
            remedy = (
                "complete the download, or leave them out with --data.missing-images drop"
                if found
                else "download the images, or give the folder that holds them with --data.root"
            )
            raise InputError(
                f"{self._root}: {len(self._missing)} of {found + len(self._missing)} annotated "
                f"images have no file, the first is {printable(self._missing[0])} (looked in "
                f"{looked}); {remedy}"
            )

    def _listed(self, folder: str) -> frozenset[str]:
        folder = str(Path(folder))  # one listing, however the folder is spelt
        if folder not in self._names:
            try:
                names = frozenset(file.name for file in (self._root / folder).iterdir())
            except (OSError, ValueError):  # no such folder, or not a folder's name at all
                names = frozenset()
            self._names[folder] = names
        return self._names[folder]


def _is_inside(folder: str) -> bool:
    """Whether a folder that an annotation file names stays in the root it is put under."""
    path = Path(folder)
    return not path.anchor and ".." not in path.parts
