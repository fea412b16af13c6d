"""A data set's files, one after another: what an earlier call brought is not asked for again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from zipfile import is_zipfile

from vlp_fast.data.fetch.catalogue import Catalogue, Source, SourceFile
from vlp_fast.data.fetch.download import download
from vlp_fast.data.fetch.part_file import DownloadFailed, Expected, sha256_of
from vlp_fast.data.fetch.unpack import BadArchive, unpack, unpacked_size
from vlp_fast.data.printable import printable
from vlp_fast.data.store.meter import Meter, shown_bytes
from vlp_fast.errors import InputError
from vlp_fast.whole_file import write_json

DONE = "fetched.json"
"""In the folder: the SHA-256 of each file that was brought, and which of them were unpacked."""


def fetch(
    catalogue: Catalogue,
    name: str,
    out: Path,
    *,
    place: str = "",
    say: Callable[[str], object] = lambda line: None,
    wait: Callable[[float], object] = time.sleep,
) -> int:
    """Bring a data set here, or go on with it.

    Args:
        catalogue: of data sets.
        name: of one of them.
        out: the folder, which is made.
        place: an address below which all of its files are, in place of the known ones.
        say: gets lines about licence, progress and what could not be checked.
        wait: sleeps.

    Returns:
        How many files were brought.

    Raises:
        InputError: if a file has no address or none that serves it, or the disk refuses it.
    """
    source = catalogue.source(name)
    say(f"{source.title}; licence: {source.licence}")
    addresses = {file.name: _addresses(source, file, place) for file in source.files}
    try:
        out.mkdir(parents=True, exist_ok=True)
        done = _Done(out)
        wanted = [file for file in source.files if not done.has(file)]
        for file in wanted:
            if not done.has_brought(file):
                found = _there(file, out, say)
                found = found or _brought(catalogue, file, addresses[file.name], out, say, wait)
                done.note(file, found)
            if file.unpack:
                _unpacked(file, out, done, say)
    except OSError as error:
        raise InputError(
            f"{printable(error.filename or out)}: {error.strerror or error}; free some space or "
            "repair it, and the same command goes on"
        ) from None
    return len(wanted)


def _addresses(source: Source, file: SourceFile, place: str) -> tuple[str, ...]:
    if place:
        return (f"{place.rstrip('/')}/{file.name}",)
    if file.addresses:
        return file.addresses
    page = f" (its page: {source.home})" if source.home else ""
    raise InputError(
        f"{source.name}: no address of {file.name} is known to this version{page}; download it "
        "yourself, or give the address of the folder that serves it with --place URL"
    )


def _brought(
    catalogue: Catalogue,
    file: SourceFile,
    addresses: tuple[str, ...],
    out: Path,
    say: Callable[[str], object],
    wait: Callable[[float], object],
) -> str:
    """Bring one file, from the first address that serves it; return its SHA-256."""
    path = out / file.name
    expected = Expected(size=file.size, sha256=file.sha256)
    for place, address in enumerate(addresses, 1):
        try:
            found = download(
                address, path, expected, check=catalogue.refuse_dead, say=say, wait=wait
            )
            _check_kind(path, expected, address)
            break
        except DownloadFailed as error:
            if place == len(addresses):
                raise
            say(f"{error}; the next address is tried")
    say(_line(file, path, found))
    return found


def _there(file: SourceFile, out: Path, say: Callable[[str], object]) -> str:
    """The SHA-256 of a file that somebody put there, or that came before a kill; "" of none."""
    path = out / file.name
    if not path.is_file():
        return ""
    found = sha256_of(path)
    expected = Expected(size=file.size, sha256=file.sha256)
    wrong = expected.wrong(path, found)
    if not wrong and _is_cut(path, expected):
        wrong = "is no zip file, or not all of one"
    if wrong:
        raise InputError(f"{printable(path)}: is there already, and {wrong}; delete or move it")
    say(f"{_line(file, path, found)}; it was there already")
    return found


def _is_cut(path: Path, expected: Expected) -> bool:
    """Where no SHA-256 tells, whether a zip file is none, or did not come to its end."""
    return not expected.sha256 and path.suffix == ".zip" and not is_zipfile(path)


def _check_kind(path: Path, expected: Expected, address: str) -> None:
    if _is_cut(path, expected):
        path.unlink()
        raise DownloadFailed(
            f"{printable(address)}: serves no zip file, or not all of it; nothing of it was kept"
        )


def _line(file: SourceFile, path: Path, found: str) -> str:
    state = "as it should be" if file.sha256 else "what it should be is unknown: told, not checked"
    return f"{file.name}: {shown_bytes(path.stat().st_size)}, SHA-256 {found}, {state}"


def _unpacked(file: SourceFile, out: Path, done: _Done, say: Callable[[str], object]) -> None:
    """Unpack an archive in place of itself; one that is damaged is to be brought again."""
    path = out / file.name
    meter = Meter(f"{file.name}, unpacked", unpacked_size(path), say)
    try:
        count = unpack(path, out, tell=meter.add)
    except BadArchive:
        done.forget(file)
        path.unlink(missing_ok=True)
        raise
    done.note(file, done.brought[file.name], is_unpacked=True)
    path.unlink()
    say(f"{file.name}: {count:,} files unpacked")


class _Done:
    """What a folder says of earlier calls."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self.brought: dict[str, str] = {}
        self._unpacked: set[str] = set()
        try:
            said = json.loads((out / DONE).read_bytes())
            brought, self._unpacked = dict(said["brought"]), set(said["unpacked"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return
        self.brought = {
            name: found
            for name, found in brought.items()
            if isinstance(found, str) and (name in self._unpacked or (out / name).exists())
        }

    def has(self, file: SourceFile) -> bool:
        """Whether nothing is left to be done for a file."""
        return self.has_brought(file) and (not file.unpack or file.name in self._unpacked)

    def has_brought(self, file: SourceFile) -> bool:
        """Whether it came, with the content that is listed now."""
        found = self.brought.get(file.name, "")
        return bool(found) and file.sha256.lower() in ("", found)

    def note(self, file: SourceFile, found: str, *, is_unpacked: bool = False) -> None:
        """Note what was done."""
        self.brought[file.name] = found
        if is_unpacked:
            self._unpacked.add(file.name)
        self._write()

    def forget(self, file: SourceFile) -> None:
        """Note that nothing was."""
        self.brought.pop(file.name, None)
        self._write()

    def _write(self) -> None:
        write_json(self._out / DONE, {"brought": self.brought, "unpacked": sorted(self._unpacked)})
