"""What of a data set goes into which shard: decided beforehand, the same each time."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vlp_fast.data.given_paths import check_root
from vlp_fast.data.printable import printable
from vlp_fast.data.sources.zipped import LARGEST_ZIP
from vlp_fast.data.store.packed import ELSEWHERE
from vlp_fast.data.store.shard_index import INDEX
from vlp_fast.errors import InputError

PICTURES = frozenset(
    f".{kind}"
    for kind in "jpg jpeg jpe mpo png webp gif bmp tif tiff ppm pgm pbm pnm".split()  # noqa: SIM905
)
"""How the names of pictures end, in whatever case."""
LEFT = frozenset([".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".part"])
"""Ends of the names of archives, which are neither packed nor copied."""
PLAN = "packing.json"
"""Of a folder that is packed, or being packed: the digest of what goes into it."""
OWN = frozenset([PLAN, ELSEWHERE])
"""Names that a packed folder has for itself."""
Found = tuple[str, os.stat_result]
"""A file's name and state."""


@dataclass(frozen=True, kw_only=True)
class PackingPlan:
    """The files of a folder, names relative to it with "/" between folders, in order.

    Attributes:
        shards: names of the pictures of each.
        total: bytes of all pictures together.
        copied: names of what goes along as it is.
        left: names of archives, and of what is a packed folder's own; these stay where they are.
        digest: of every picture's name, size and time of change, and of where shards are cut.
    """

    shards: tuple[tuple[str, ...], ...]
    total: int
    copied: tuple[str, ...]
    left: tuple[str, ...]
    digest: str

    @property
    def pictures(self) -> int:
        """How many there are."""
        return sum(map(len, self.shards))

    def shard_name(self, number: int) -> str:
        """Name of a tar file."""
        return f"shard-{number:06d}.tar"


def plan_packing(source: Path, shard_bytes: int) -> PackingPlan:
    """Look through a folder and those below it; links are followed, hidden files passed over.

    Args:
        source: the folder.
        shard_bytes: a shard is cut before the picture that would make it larger.

    Raises:
        InputError: if the folder cannot be read, holds no picture, or is packed itself.
    """
    check_root(source)
    if (source / INDEX).exists():
        raise InputError(f"{printable(source)}: is packed already; give the unpacked folder")
    found = sorted(_files(source, "", {_identity(source.stat())}))
    pictures = [(name, state) for name, state in found if _ending(name) in PICTURES]
    if not pictures:
        raise InputError(
            f"{printable(source)}: holds no picture ({', '.join(sorted(PICTURES))}); give the "
            "folder of images and annotations"
        )
    others = [(name, state) for name, state in found if _ending(name) not in PICTURES]
    left = tuple(name for name, state in others if _is_left(name, state))
    shards = _cut(pictures, shard_bytes)
    return PackingPlan(
        shards=shards,
        total=sum(state.st_size for _, state in pictures),
        copied=tuple(name for name, _ in others if name not in set(left)),
        left=left,
        digest=_digest(pictures, shards),
    )


def _files(root: Path, folder: str, above: set[tuple[int, int]]) -> Iterator[Found]:
    """Names and states of regular files; a folder that links lead back to is entered once."""
    try:
        entries = list(os.scandir(root / folder))
    except OSError as error:
        raise InputError(
            f"{printable(root / folder)}: {error.strerror}; make it readable"
        ) from None
    for entry in entries:
        name = f"{folder}/{entry.name}" if folder else entry.name
        if entry.name.startswith("."):
            continue
        try:
            state = entry.stat()
        except OSError as error:
            raise InputError(
                f"{printable(root / name)}: {error.strerror}; repair or delete it"
            ) from None
        if stat.S_ISREG(state.st_mode):
            yield name, state
        elif stat.S_ISDIR(state.st_mode) and _identity(state) not in above:
            yield from _files(root, name, above | {_identity(state)})


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _is_left(name: str, state: os.stat_result) -> bool:
    ending = _ending(name)
    return name in OWN or ending in LEFT or (ending == ".zip" and state.st_size > LARGEST_ZIP)


def _cut(pictures: Sequence[Found], shard_bytes: int) -> tuple[tuple[str, ...], ...]:
    shards: list[list[str]] = [[]]
    size = 0
    for name, state in pictures:
        if shards[-1] and size + state.st_size > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += state.st_size
    return tuple(map(tuple, shards))


def _digest(pictures: Sequence[Found], shards: Sequence[Sequence[str]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, state in pictures:
        said = f"{name}\0{state.st_size}\0{state.st_mtime_ns}\0"
        digest.update(said.encode(errors="surrogatepass"))
    digest.update(repr([len(shard) for shard in shards]).encode())
    return digest.hexdigest()
