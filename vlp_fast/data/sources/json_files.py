"""Annotation files: JSON that is checked where it is read.

Whatever a damaged or foreign file contains, the reader gets one `InputError` that names the file
and the entry.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from vlp_fast.errors import InputError

V = TypeVar("V")
Entry = dict[str, Any]


def read_json(path: Path) -> Any:
    """Parse a file.

    Raises:
        InputError: if it is missing or is not whole, valid JSON; with line and column.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; download or repair it") from None
    except json.JSONDecodeError as error:
        # A file cut inside a word or a string fails a little before its end.
        is_cut = error.msg.startswith("Unterminated") or len(error.doc) - error.pos < 8
        what = "ends early (truncated)" if is_cut else f"is not valid JSON: {error.msg}"
        raise InputError(
            f"{path}, line {error.lineno} column {error.colno}: {what}; download it again"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, byte {error.start}: is not text; download it again") from None
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply for an annotation file") from None


def table(document: Any, key: str | None, path: Path) -> list[Entry]:
    """Return the list of objects under `key` of a document (None: the document itself).

    Raises:
        InputError: if the document has no such list.
    """
    rows = document
    if key is not None:
        rows = document.get(key) if isinstance(document, dict) else None
    if not isinstance(rows, list):
        name = f"'{key}'" if key else "a top-level list"
        raise InputError(f"{path}: has no {name} list; this is not the official layout")
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InputError(
                f"{path}: entry {index} of '{key or 'the list'}' is {_shown(row)}, expected an "
                "object; this is not the official layout"
            )
    return rows


def value(entry: Entry, key: str, kind: type[V], path: Path) -> V:
    """Return a field of an entry.

    Raises:
        InputError: if it is absent or not of the kind (true is not an integer).
    """
    found = entry.get(key)
    if not isinstance(found, kind) or isinstance(found, bool):
        state = f"is {_shown(found)}" if key in entry else "is missing"
        raise InputError(
            f"{path}: in entry {_shown(entry)}: '{key}' {state}, expected {kind.__name__}; "
            "repair the entry"
        )
    return found


def text(entry: Entry, key: str, path: Path) -> str:
    """Return a field that is text, with what cannot be written as UTF-8 replaced.

    Raises:
        InputError: if it is absent or not text.
    """
    found = value(entry, key, str, path)
    return found if found.isascii() else found.encode("utf-8", "replace").decode()


def side(entry: Entry, key: str, path: Path) -> int:
    """Return a width or height in pixels.

    Raises:
        InputError: if it is not a positive integer.
    """
    pixels = value(entry, key, int, path)
    if not 0 < pixels < 2**31:
        raise InputError(
            f"{path}: in entry {_shown(entry)}: '{key}' is {_shown(pixels)}, expected pixels > 0; "
            "repair the entry"
        )
    return pixels


def _shown(thing: Any) -> str:
    """Text of at most 60 characters; a message is one line."""
    text = json.dumps(thing, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
