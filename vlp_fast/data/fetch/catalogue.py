"""What `sources.toml` says: data sets with their files, addresses and licences, and dead hosts."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError

SOURCES = Path(__file__).with_name("sources.toml")
_SAFE = re.compile("[!-~]+")
"""ASCII without blanks."""


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file that is published.

    Attributes:
        name: that it gets here.
        addresses: URLs that serve it, tried in turn.
        size: bytes; None where nobody says.
        sha256: of its content, in hexadecimal digits; "" where it is not known.
        unpack: whether it is an archive to be unpacked.
    """

    name: str
    addresses: tuple[str, ...] = ()
    size: int | None = None
    sha256: str = ""
    unpack: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set that is published.

    Attributes:
        name: that it is asked for by.
        title: what it is.
        licence: of its files.
        files: of which it consists.
        home: address of a page about it; "" where none is known.
    """

    name: str
    title: str
    licence: str
    files: tuple[SourceFile, ...]
    home: str = ""


@dataclass(frozen=True)
class Catalogue:
    """All of it.

    Attributes:
        sources: by name.
        dead: hosts and buckets that are never asked, with the reason.
    """

    sources: Mapping[str, Source]
    dead: Mapping[str, str]

    def source(self, name: str) -> Source:
        """Return a data set.

        Raises:
            InputError: if there is none of the name.
        """
        if name not in self.sources:
            known = ", ".join(self.sources)
            raise InputError(f"no data set named {printable(name)!r} to fetch; there are {known}")
        return self.sources[name]

    def refuse_dead(self, address: str) -> None:
        """Refuse an address that is no longer its owner's, or is none.

        Raises:
            InputError: saying why.
        """
        try:
            parts = urlsplit(address)
            host = unquote(parts.hostname or "").lower().rstrip(".")
            is_whole = parts.port != 0  # one that is no number raises
        except ValueError:
            parts, host, is_whole = urlsplit(""), "", False
        if parts.scheme not in ("http", "https") or not host or not is_whole:
            raise InputError(f"{printable(address)}: is no address of http or https")
        if not _SAFE.fullmatch(address):
            raise InputError(
                f"{printable(address)}: holds a character that no address may hold; write blanks "
                "as %20, and others in the same way"
            )
        buckets = {*host.split("."), *unquote(parts.path).split("/")}
        for dead, why in self.dead.items():
            if host == dead or host.endswith(f".{dead}") or dead in buckets:
                raise InputError(f"{printable(address)}: is not asked, for {dead} {why}")


def read_catalogue(path: Path = SOURCES) -> Catalogue:
    """Read a file in the form of `sources.toml`.

    Raises:
        InputError: if it cannot be read, or says anything that is not understood.
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
        sources = {
            name: Source(
                name=name,
                files=tuple(_file(file) for file in entry.pop("files")),
                **entry,
            )
            for name, entry in said["data"].items()
        }
        dead = {entry["host"]: entry["why"] for entry in said.get("dead", [])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"is not understood ({error})"
        raise InputError(f"{printable(path)}: {printable(reason)}") from None
    return Catalogue(sources, dead)


def _file(entry: dict[str, object]) -> SourceFile:
    addresses = entry.pop("addresses", ())
    file = SourceFile(addresses=tuple(addresses), **entry)  # type: ignore[arg-type]
    if PurePosixPath(file.name).name != file.name or file.name.startswith("."):
        raise ValueError(f"{file.name!r} is no name of a file")
    return file
