"""What has come of a file so far, and what a server's answer adds to it.

It is in a hidden file; another one beside says which version of which address it is of, and how
long that is, so that two versions are never joined, and nobody is asked for what has come whole.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any

from vlp_fast import __version__
from vlp_fast.data.printable import printable
from vlp_fast.data.store.meter import Meter
from vlp_fast.errors import InputError
from vlp_fast.whole_file import sync, write_json

BLOCK = 2**20
PATIENCE = 60.0
"""Seconds without a byte after which a connection counts as broken."""
Say = Callable[[str], object]
TAKEN_OVER = "the host may have been taken over; nothing of it was kept"


class DownloadFailed(InputError):
    """An address that does not serve the file; another one may."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a file has to be.

    Attributes:
        size: bytes; None where nobody says.
        sha256: in hexadecimal digits; "" where it is not known.
    """

    size: int | None = None
    sha256: str = ""

    def wrong(self, path: Path, found: str) -> str:
        """What is wrong with a file of that SHA-256; "" if nothing is."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"has {size:,} bytes, expected {self.size:,}"
        if self.sha256 and found != self.sha256.lower():
            return f"has SHA-256 {found}, expected {self.sha256.lower()}"
        return "" if size else "is empty"


class PartFile:
    """Of one address.

    Attributes:
        is_whole: whether all of it has come.
    """

    def __init__(self, path: Path, address: str) -> None:
        self._path, self._address = path, address
        self._file = path.with_name(f".{path.name}.part")
        self._notes = path.with_name(f".{path.name}.part.json")
        self._version, total = self._known()
        if self._version is None:
            self._file.unlink(missing_ok=True)
        self.is_whole = total is not None and self.size == total

    @property
    def size(self) -> int:
        """Bytes."""
        return self._file.stat().st_size if self._file.exists() else 0

    def grow(
        self,
        opener: urllib.request.OpenerDirector,
        expected: Expected,
        say: Say,
    ) -> None:
        """Ask for what is missing; raises whatever breaks the connection."""
        if self._version is None:
            self._file.unlink(missing_ok=True)  # nobody could say whether the rest fits
        headers = {"User-Agent": f"vlp-fast/{__version__}", "Accept-Encoding": "identity"}
        if self.size:
            headers |= {"Range": f"bytes={self.size}-", "If-Range": str(self._version)}
        request = urllib.request.Request(self._address, headers=headers)
        try:
            with _answer(opener, request) as answer:
                self._take(answer, expected, say)
        except urllib.error.HTTPError as error:
            if error.code != 416 or not self.size:
                raise
            self.forget()  # shorter now than what had come: begin anew

    def _take(self, answer: Any, expected: Expected, say: Say) -> None:
        start, total = _range(answer, self.size)
        _refuse_page(answer, self._path, self._address)
        if expected.size is not None and total is not None and total != expected.size:
            self.forget()
            raise DownloadFailed(
                f"{printable(self._address)}: serves {total:,} bytes, expected {expected.size:,}; "
                f"{TAKEN_OVER}"
            )
        meter = Meter(self._path.name, total, say, done=start)
        with self._file.open("r+b" if start else "wb") as file:
            self._note(answer.headers, total)  # once nothing of another version is there
            file.seek(start)
            _copy(answer, file, expected.size, meter)
        if total is not None and self.size < total:
            raise http.client.IncompleteRead(b"", total - self.size)
        self.is_whole = True

    def finish(self, expected: Expected) -> str:
        """Check what has come, and give it its name."""
        found = sha256_of(self._file)
        wrong = expected.wrong(self._file, found)
        if wrong:
            self.forget()
            raise DownloadFailed(f"{printable(self._address)}: {wrong}; {TAKEN_OVER}")
        sync(self._file)
        self._file.replace(self._path)
        self._notes.unlink(missing_ok=True)
        return found

    def forget(self) -> None:
        """Delete what has come."""
        self._file.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def _known(self) -> tuple[str | None, int | None]:
        """Version and size of what has come in part from this address, as the server said."""
        try:
            said = json.loads(self._notes.read_bytes())
            if said["address"] == self._address:
                return said["version"], said["total"]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None, None

    def _note(self, headers: Message, total: int | None) -> None:
        tag = headers.get("ETag") or ""
        version = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
        self._version = version
        if version:
            said = {"address": self._address, "version": version, "total": total}
            write_json(self._notes, said)
        else:
            self._notes.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _answer(opener: urllib.request.OpenerDirector, request: urllib.request.Request) -> Any:
    try:
        return opener.open(request, timeout=PATIENCE)
    except urllib.error.URLError:
        raise
    except OSError as error:  # not the disk's
        raise urllib.error.URLError(error) from None


def _range(answer: Any, have: int) -> tuple[int, int | None]:
    """The byte that an answer begins with, and the size of the whole."""
    length = answer.headers.get("Content-Length", "")
    size = int(length) if length.isdigit() else None
    if answer.status != 206:
        return 0, size
    said = answer.headers.get("Content-Range", "")
    place, _, total = said.removeprefix("bytes ").partition("/")
    if place.partition("-")[0] != str(have):
        raise http.client.HTTPException(f"another part than asked for came ({said})")
    if total.isdigit():
        return have, int(total)
    return have, None if size is None else have + size


def _refuse_page(answer: Any, path: Path, address: str) -> None:
    if answer.headers.get_content_type() == "text/html" and path.suffix not in (".html", ".htm"):
        raise DownloadFailed(f"{printable(address)}: serves a web page, not {path.name}")


def _copy(answer: IO[bytes], file: IO[bytes], limit: int | None, meter: Meter) -> None:
    while block := _received(answer):
        file.write(block)
        meter.add(len(block))
        if limit is not None and file.tell() > limit:
            return  # told by its size, when it is checked


def _received(answer: IO[bytes]) -> bytes:
    """Some more; what the network refuses is told apart from what the disk does."""
    try:
        return answer.read(BLOCK)
    except OSError as error:
        raise urllib.error.URLError(error) from None
