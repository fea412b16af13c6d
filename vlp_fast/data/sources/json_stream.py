"""Annotation files of hundreds of megabytes: one list of objects, of which few are in memory.

Parsed as a whole, the objects of Visual Genome take eight times the bytes of their file.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from vlp_fast.data.sources.folders import opened_file
from vlp_fast.data.sources.json_files import Entry, JsonFile, read_json, table, unreadable
from vlp_fast.data.store.consulted import new_digest, saw_digest

BLOCK = 2**22
"""Bytes that are read at once; an entry has some ten thousand."""


def read_entries(path: Path) -> Iterator[JsonFile]:
    """Parse a file that is a list of objects; each comes by itself, with its place in the list.

    Raises:
        InputError: as `read_json` and `table` of a whole file, whose words these are.
    """
    count = 0
    try:
        with opened_file(path) as file:
            for entry in _entries(path, file):
                yield JsonFile(path, entry, index=count)
                count += 1
    except OSError as error:
        raise unreadable(path, error) from None
    except _Unusual:
        # Damaged, of another layout, or in another encoding: what reads it whole can tell.
        for index, entry in enumerate(table(read_json(path), None)):
            if index >= count:
                yield JsonFile(path, entry, index=index)


class _Unusual(ValueError):
    """What is not read here."""


def _entries(path: Path, file: IO[bytes]) -> Iterator[Entry]:
    text = _Text(file)
    text.take("[")
    if text.next() != "]":
        yield text.entry()
        while text.next() == ",":
            text.take(",")
            yield text.entry()
    text.take("]")
    if text.next():
        raise _Unusual
    saw_digest(path, text.digest.hexdigest(), text.size)


class _Text:
    """What of a file is not parsed yet, as far as it was read.

    Attributes:
        digest: of the bytes that were read.
        size: how many these were.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._parse = json.JSONDecoder().raw_decode
        self._text, self._place = "", 0
        self.digest = new_digest()
        self.size = 0

    def next(self) -> str:
        """The next character that is no blank, which stays; "" at the end."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in " \t\r\n":
                self._place += 1
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._more():
                return ""

    def take(self, sign: str) -> None:
        """Go past a character, which has to be the next one."""
        if self.next() != sign:
            raise _Unusual
        self._place += 1

    def entry(self) -> Entry:
        """Parse an object."""
        if self.next() != "{":
            raise _Unusual
        while True:
            try:
                entry, self._place = self._parse(self._text, self._place)
            except (ValueError, RecursionError):  # most often, the rest is not read yet
                if not self._more():
                    raise _Unusual from None
                continue
            return entry  # type: ignore[no-any-return]

    def _more(self) -> bool:
        """Read on, more at once the more is waiting; False at the end."""
        left = self._text[self._place :]
        data = self._file.read(max(BLOCK, len(left)))
        self.digest.update(data)
        self.size += len(data)
        try:
            self._text, self._place = left + self._decode(data, final=not data), 0
        except UnicodeDecodeError:
            raise _Unusual from None
        return bool(data)
