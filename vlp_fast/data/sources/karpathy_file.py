"""Which `dataset_*.json` of a folder is Karpathy's: what a file holds decides, not its name.

Files of 140 MB are told by their first entries, without being parsed. His own archive holds three
(COCO, Flickr8k, Flickr30k): the one is taken whose pictures are in the folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vlp_fast.data.printable import printable
from vlp_fast.data.sources.folders import annotation_files, opened_file
from vlp_fast.data.sources.json_files import Entry
from vlp_fast.errors import InputError

PATTERN = "dataset_*.json"
HEAD = 2**20
"""Bytes at the beginning of a file in which its first entries are."""
_IMAGES = re.compile(r'"images"\s*:\s*\[')
_GAP = re.compile(r"\s*,?\s*")


def karpathy_file(root: Path, has_picture: Callable[[Entry], bool]) -> Path | None:
    """Return the folder's file of Karpathy's, or None.

    Args:
        root: folder of the data set.
        has_picture: whether the file of an entry's picture is there; asked only to choose among
            several.

    Raises:
        InputError: if there are several, and the pictures of none or of more than one are there.
    """
    paths = {path.name: path for path in reversed(annotation_files(root, PATTERN))}.values()
    heads = {path: list(_first_entries(path)) for path in paths}
    found = {path: entries for path, entries in heads.items() if any(map(_is_his, entries))}
    if len(found) < 2:
        return next(iter(found), None)
    with_pictures = [path for path, entries in found.items() if any(map(has_picture, entries))]
    if len(with_pictures) == 1:
        return with_pictures[0]
    names = ", ".join(printable(path.name) for path in found)
    state = f"of {len(with_pictures)} of them" if with_pictures else "of none of them"
    raise InputError(
        f"{printable(root)}: holds {names}, and pictures {state} are there; choose one with "
        "--data.karpathy-file FILE"
    )


def other_files(root: Path) -> list[Path]:
    """Return the files of the folder that have the name of Karpathy's and are something else."""
    paths = annotation_files(root, PATTERN)
    return [path for path in paths if not any(map(_is_his, _first_entries(path)))]


def _is_his(entry: Mapping[str, Any]) -> bool:
    return "sentences" in entry and "split" in entry


def _first_entries(path: Path) -> Iterator[Entry]:
    """The entries of the "images" list as far as they lie whole in the head of the file."""
    try:
        with opened_file(path) as file:
            head = file.read(HEAD)
    except OSError as error:
        raise InputError(f"{printable(path)}: {error.strerror}; make it readable") from None
    text = head.decode(json.detect_encoding(head), "replace")
    start = _IMAGES.search(text)
    if start is None:
        return
    decoder, place = json.JSONDecoder(), start.end()
    while gap := _GAP.match(text, place):
        try:
            entry, place = decoder.raw_decode(text, gap.end())
        except (ValueError, RecursionError):  # the end of the list, of the head, or damage
            return
        if isinstance(entry, dict):
            yield entry
