"""One file from one address: resumed where it broke off, under its name only when it is whole.

What has come is in a hidden file beside; with it is kept what the server said of the file's
version, so that two versions are never joined.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import time
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
from vlp_fast.whole_file import sync

BLOCK = 2**20
PATIENCE = 60.0
"""Seconds without a byte after which a connection counts as broken."""
TRIES = 6
"""Connections in a row that bring nothing before an address is given up."""
BROKEN = (http.client.HTTPException, ConnectionError, TimeoutError, urllib.error.URLError)
"""What asking again may mend."""
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


def download(
    address: str,
    path: Path,
    expected: Expected,
    *,
    check: Callable[[str], object],
    say: Say,
    wait: Callable[[float], object] = time.sleep,
) -> str:
    """Bring a file here, or go on with it.

    Args:
        address: of http or https.
        path: the file to write.
        expected: what it has to be.
        check: is told each address before it is asked, redirections too; raises to refuse one.
        say: gets lines about progress.
        wait: sleeps.

    Returns:
        The file's SHA-256.

    Raises:
        InputError: if an address is refused, or the disk is.
        DownloadFailed: if the address does not serve the file, or serves another one.
    """
    check(address)
    part = _Part(path, address)
    failures = 0
    while not part.is_whole:
        before = part.size
        try:
            part.grow(_opener(check), expected, say)
            continue
        except BROKEN as error:
            failure = _final(error, address)
        failures = 1 if part.size > before else failures + 1
        if failures == TRIES:
            raise DownloadFailed(
                f"{printable(address)}: the connection breaks ({failure}); "
                f"{part.size:,} bytes are kept, and the same command goes on"
            )
        wait(min(2.0**failures, 30.0))
    return part.finish(expected)


class _Part:
    """What has come so far."""

    def __init__(self, path: Path, address: str) -> None:
        self._path, self._address = path, address
        self._file = path.with_name(f".{path.name}.part")
        self._notes = path.with_name(f".{path.name}.part.json")
        self.is_whole = False
        self._version = self._known_version()
        if self._version is None:
            self._file.unlink(missing_ok=True)

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
            with opener.open(request, timeout=PATIENCE) as answer:
                self._take(answer, expected, say)
        except urllib.error.HTTPError as error:
            if error.code != 416 or not self.size:
                raise
            self._file.unlink()  # shorter now than what had come: begin anew

    def _take(self, answer: Any, expected: Expected, say: Say) -> None:
        start, total = _range(answer, self.size)
        _refuse_page(answer, self._path, self._address)
        if expected.size is not None and total is not None and total != expected.size:
            self.forget()
            raise DownloadFailed(
                f"{printable(self._address)}: serves {total:,} bytes, expected {expected.size:,}; "
                f"{TAKEN_OVER}"
            )
        self._note(answer.headers)
        meter = Meter(self._path.name, total, say, done=start)
        with self._file.open("r+b" if start else "wb") as file:
            file.seek(start)
            _copy(answer, file, expected.size, meter)
        if total is not None and self.size < total:
            raise http.client.IncompleteRead(b"", total - self.size)
        self.is_whole = True

    def finish(self, expected: Expected) -> str:
        """Check what has come, and give it its name."""
        found = _sha256(self._file)
        if expected.size is not None and self.size != expected.size:
            wrong = f"has {self.size:,} bytes, expected {expected.size:,}"
        elif expected.sha256 and found != expected.sha256.lower():
            wrong = f"has SHA-256 {found}, expected {expected.sha256.lower()}"
        else:
            sync(self._file)
            self._file.replace(self._path)
            self._notes.unlink(missing_ok=True)
            return found
        self.forget()
        raise DownloadFailed(f"{printable(self._address)}: {wrong}; {TAKEN_OVER}")

    def forget(self) -> None:
        """Delete what has come."""
        self._file.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def _known_version(self) -> str | None:
        """What the server said of the version that has come in part, at this address."""
        try:
            said = json.loads(self._notes.read_bytes())
            return said["version"] if said["address"] == self._address else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _note(self, headers: Message) -> None:
        tag = headers.get("ETag") or ""
        version = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
        self._version = version
        if version:
            self._notes.write_text(json.dumps({"address": self._address, "version": version}))
        else:
            self._notes.unlink(missing_ok=True)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, check: Callable[[str], object]) -> None:
        self._check = check

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        self._check(newurl)
        if req.full_url.startswith("https:") and newurl.startswith("http:"):
            raise DownloadFailed(
                f"{printable(req.full_url)}: leads to {printable(newurl)}, which anybody on "
                "the way can change; not followed"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(check: Callable[[str], object]) -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Redirects(check))


def _final(error: Exception, address: str) -> str:
    """What broke; raises where asking again would bring the same."""
    code = error.code if isinstance(error, urllib.error.HTTPError) else 500
    if code < 500 and code not in (408, 429):
        raise DownloadFailed(f"{printable(address)}: answers {code} ({printable(error)})") from None
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return printable(reason) or type(error).__name__


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
    return have, int(total) if total.isdigit() else None


def _refuse_page(answer: Any, path: Path, address: str) -> None:
    if answer.headers.get_content_type() == "text/html" and path.suffix not in (".html", ".htm"):
        raise DownloadFailed(f"{printable(address)}: serves a web page, not {path.name}")


def _copy(answer: IO[bytes], file: IO[bytes], limit: int | None, meter: Meter) -> None:
    while block := answer.read(BLOCK):
        file.write(block)
        meter.add(len(block))
        if limit is not None and file.tell() > limit:
            return  # told by its size, when it is checked


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
