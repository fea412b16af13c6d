"""Annotation files: JSON that is checked where it is read, a document a file or an object a line.

Whatever a damaged or foreign file contains, the reader gets one `InputError` that names the file
and the entry.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vlp_fast.data.printable import printable
from vlp_fast.data.sources.folders import opened_file
from vlp_fast.data.sources.report import DataReport
from vlp_fast.data.store.consulted import new_digest, saw_digest, saw_file
from vlp_fast.errors import InputError

V = TypeVar("V")
Entry = dict[str, Any]
_WORDS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")
_PIECE = re.compile(r"\.|[eE][+-]?|u[0-9a-fA-F]{0,4}")
"""What the parser stumbles on where a file is cut inside a number or an escaped character."""
_WHOLE = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_REAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, eq=False)
class JsonFile:
    """A parsed file, or a line of one.

    Attributes:
        path: where it is.
        content: the document; kept at hand so that an error can say which entry it is about.
        line: number of the line that holds it, from 1; None where it is the whole file.
        index: its place in the list that the file is, from 0; None where it is the whole file.
    """

    path: Path
    content: Any
    line: int | None = None
    index: int | None = None


def read_json(path: Path) -> JsonFile:
    """Parse a file.

    Raises:
        InputError: if it is missing or is not whole, valid JSON; with line and column.
    """
    try:
        with opened_file(path) as file:
            data = file.read()
    except OSError as error:
        raise unreadable(path, error) from None
    saw_file(path, data)
    return JsonFile(path, _parsed(data, path, None))


def read_json_lines(path: Path, report: DataReport) -> Iterator[JsonFile]:
    """Parse a file that holds an object a line; a line is in memory only while it is looked at.

    Lines end with LF or CRLF and with nothing else: a text may hold U+2028. A byte order mark is
    passed over.

    Args:
        path: the file.
        report: counts blank lines.

    Raises:
        InputError: as soon as a line is no object, with its number; or if the file is missing or
            holds none.
    """
    is_empty = True
    digest, size = new_digest(), 0
    try:
        with opened_file(path) as lines:
            for number, line in enumerate(lines, 1):
                digest.update(line)
                size += len(line)
                if not line.strip():
                    report.count("blank lines passed over", f"line {number} of {path.name}")
                    continue
                is_empty = False
                yield _line(line, path, number)
    except OSError as error:
        raise unreadable(path, error) from None
    if is_empty:
        raise _empty(path)
    saw_digest(path, digest.hexdigest(), size)


def table(file: JsonFile, key: str | None, *, of: Entry | None = None) -> list[Entry]:
    """Return a list of objects.

    Args:
        file: the file.
        key: name of the list; None where the document itself is the list.
        of: the entry that holds the list; None for the document.

    Raises:
        InputError: if there is no such list.
    """
    holder = file.content if of is None else of
    rows = holder if key is None else holder.get(key) if isinstance(holder, dict) else None
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        return rows
    # Only now: looking for the place goes through the whole file.
    where = f"{file.path}: " if of is None else f"{file.path}: {_place(of, file)} "
    if not isinstance(rows, list):
        what = f"has no '{key}' list" if key else "is not a list of entries"
    else:
        index, row = next((i, row) for i, row in enumerate(rows) if not isinstance(row, dict))
        name = f"of '{key}'" if key else "of the list"
        what = f"entry {index} {name} is {shown(row)}, not an object"
    raise InputError(f"{where}{what}; this is not the official layout, download the file again")


def value(entry: Entry, key: str, kind: type[V], file: JsonFile) -> V:
    """Return a field of an entry.

    Raises:
        InputError: if it is absent or not of the kind (true is not an integer).
    """
    found = entry.get(key)
    if not isinstance(found, kind) or isinstance(found, bool):
        state = f"is {shown(found)}" if key in entry else "is missing"
        raise InputError(
            f"{file.path}: {_place(entry, file)}, {shown(entry)}: '{key}' {state}, "
            f"expected {kind.__name__}; repair the entry"
        )
    return found


def text(entry: Entry, key: str, file: JsonFile) -> str:
    """Return a field that is text, with what cannot be written as UTF-8 replaced.

    Raises:
        InputError: if it is absent or not text.
    """
    found = entry.get(key)
    if type(found) is not str:  # nearly always it is, and a file has millions
        found = value(entry, key, str, file)
    return found if found.isascii() else found.encode("utf-8", "replace").decode()


def identity(entry: Entry, key: str, file: JsonFile) -> int:
    """Return an id: an integer of 64 bits, so that arrays and digests can hold it.

    Raises:
        InputError: if it is absent, no integer or a larger one.
    """
    found = _whole(entry, key, file)
    if not -(2**63) <= found < 2**63:
        raise InputError(
            f"{file.path}: {_place(entry, file)}, {shown(entry)}: '{key}' is {shown(found)}, "
            "expected an integer of 64 bits; repair the entry"
        )
    return found


def side(entry: Entry, key: str, file: JsonFile) -> int:
    """Return a width or height in pixels.

    Raises:
        InputError: if it is not a positive integer.
    """
    pixels = _whole(entry, key, file)
    if not 0 < pixels < 2**31:
        raise InputError(
            f"{file.path}: {_place(entry, file)}, {shown(entry)}: '{key}' is {shown(pixels)}, "
            "expected pixels > 0; repair the entry"
        )
    return pixels


def flag(entry: Entry, key: str, file: JsonFile) -> bool:
    """Return whether a field is set: a number other than 0, or true; absent or null it is not.

    Raises:
        InputError: if it is anything else.
    """
    found = entry.get(key)
    if found is None or isinstance(found, bool):
        return bool(found)
    return _whole(entry, key, file) != 0


def number(found: Any) -> int | float | None:
    """Return what a field holds if it is a number, be it written as text ("139"), else None."""
    if type(found) is float or type(found) is int:  # nearly always
        return found
    if isinstance(found, str):
        if _WHOLE.fullmatch(found):
            return int(found)
        return float(found) if len(found) < 100 and _REAL.fullmatch(found) else None
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return found if is_number else None


def whole(found: Any) -> int | None:
    """Return what a field holds if it is a whole number: 139, 139.0 and "139" are, else None."""
    known = number(found)
    if isinstance(known, float):
        return int(known) if known.is_integer() else None
    return known


def shown(thing: Any) -> str:
    """Text of at most 60 characters; a message is one line."""
    text = json.dumps(thing, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def unreadable(path: Path, error: OSError) -> InputError:
    """What is told where the system refuses a file."""
    return InputError(f"{printable(path)}: {error.strerror}; download or repair it")


def _parsed(data: bytes, path: Path, line: int | None) -> Any:
    """A document; of a file that holds several, the one of a line."""
    where = printable(path) if line is None else f"{printable(path)}, line {line}"
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        if not error.doc.strip():
            raise _empty(path) from None
        where = f"{printable(path)}, line {error.lineno if line is None else line}"
        is_cut = _is_cut(error)
        what = "ends early (truncated)" if is_cut else f"is not valid JSON: {error.msg}"
        raise InputError(f"{where} column {error.colno}: {what}; download it again") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{where}, byte {error.start}: is not text; download it again") from None
    except RecursionError:
        raise InputError(
            f"{where}: is nested too deeply for an annotation file; download it again"
        ) from None
    except ValueError:  # Python's limit for the digits of an integer
        raise InputError(
            f"{where}: holds a number of thousands of digits; download it again"
        ) from None


def _line(data: bytes, path: Path, number: int) -> JsonFile:
    content = _parsed(data.rstrip(), path, number)
    if not isinstance(content, dict):
        raise InputError(
            f"{printable(path)}, line {number}: is {shown(content)}, expected an object on each "
            "line; this is not the official layout, download the file again"
        )
    return JsonFile(path, content, number)


def _empty(path: Path) -> InputError:
    return InputError(f"{printable(path)}: is empty; download it again")


def _whole(entry: Entry, key: str, file: JsonFile) -> int:
    found = entry.get(key)
    if type(found) is int:  # nearly always, and a file has millions
        return found
    known = whole(found)
    return value(entry, key, int, file) if known is None else known


def _is_cut(error: json.JSONDecodeError) -> bool:
    """Whether nothing comes after the mistake but blanks or a piece of a word or a string."""
    rest = error.doc[error.pos :].strip()
    return (
        error.msg.startswith("Unterminated")
        or any(word.startswith(rest) for word in _WORDS)
        or _PIECE.fullmatch(rest) is not None
    )


def _place(entry: Entry, file: JsonFile) -> str:
    """Number of an entry, or of the one that holds it, in its list (looked up only for errors)."""
    if file.line is not None:
        return f"line {file.line}"
    if file.index is not None:
        return f"entry {file.index} of the list"
    content = file.content
    lists = content.items() if isinstance(content, dict) else [(None, content)]
    for key, rows in lists:
        for index, row in enumerate(rows if isinstance(rows, list) else ()):
            if row is entry or (isinstance(row, dict) and _holds(row, entry)):
                return f"entry {index} of {'the list' if key is None else shown(key)}"
    return "an entry"


def _holds(row: Entry, entry: Entry) -> bool:
    lists = (inner for inner in row.values() if isinstance(inner, list))
    return any(item is entry for inner in lists for item in inner)
