"""One file from one address: resumed where it broke off, under its name only when it is whole."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from vlp_fast.data.fetch.part_file import DownloadFailed, Expected, PartFile, Say
from vlp_fast.data.printable import printable

TRIES = 6
"""Connections in a row that bring nothing before an address is given up."""
BROKEN = (http.client.HTTPException, ConnectionError, TimeoutError, urllib.error.URLError)
"""What asking again may mend."""


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
    part = PartFile(path, address)
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
        pause = min(2.0**failures, 30.0)
        say(f"{path.name}: the connection breaks ({failure}); asked again in {pause:.0f} s")
        wait(pause)
    return part.finish(expected)


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
