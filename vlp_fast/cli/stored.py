"""`vlp-fast data pack` and `fetch`: data sets as they are kept on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vlp_fast.checks import AT_LEAST_ONE, check


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Put the pictures of a data set into a few large tar files, with an index beside them.

    The same command goes on where an earlier one ended. Train with --data.root OUT as before.
    """

    source: Annotated[Path, tyro.conf.arg(metavar="SRC")]
    """The data set's folder, in any layout."""
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")]
    """The folder to make."""
    shard_mib: int = 1024
    """Size of a tar file in MiB, at most; of pictures, without the rest."""
    workers: int = 2
    """Tar files that are written at once."""

    def __post_init__(self) -> None:
        """Raises ValueError for sizes and counts that cannot be."""
        check(self, AT_LEAST_ONE, "shard_mib", "workers")


def pack(config: Pack) -> None:
    """Pack, and say what was packed."""
    from vlp_fast.data.printable import printable
    from vlp_fast.data.store.meter import shown_bytes
    from vlp_fast.data.store.pack import pack as packed_into
    from vlp_fast.engine.folder_lock import FolderLock

    with FolderLock(config.out, work="packs or fetches into", option="OUT"):
        done = packed_into(
            config.source,
            config.out,
            shard_bytes=config.shard_mib * 2**20,
            workers=config.workers,
            say=lambda line: print(line, flush=True),
        )
    if done.broken:
        print(f"{done.broken:,} of them have no header that can be read; runs show others instead")
    state = "in" if done.is_new else "were packed already, in"
    print(
        f"{done.pictures:,} pictures ({shown_bytes(done.size)}) {state} {done.shards:,} shards in "
        f"{printable(config.out)}; train with --data.root {printable(config.out)}"
    )


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """Download a data set, check it and unpack its pictures; annotations are read as they come.

    The same command goes on where an earlier one ended.
    """

    name: Annotated[str, tyro.conf.arg(metavar="NAME")]
    """Which: coco, karpathy, visual_genome, vqa."""
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")]
    """The folder to put it into."""
    place: str = ""
    """An address below which all files are, such as a mirror's, in place of the known ones."""
    sources: Path | None = None
    """A file of addresses in place of the package's sources.toml, in the same form."""


def fetch(config: Fetch) -> None:
    """Fetch, and say what is there now."""
    from vlp_fast.data.fetch.catalogue import SOURCES, read_catalogue
    from vlp_fast.data.fetch.fetched import DONE
    from vlp_fast.data.fetch.fetched import fetch as fetched
    from vlp_fast.data.printable import printable
    from vlp_fast.engine.folder_lock import FolderLock

    catalogue = read_catalogue(config.sources or SOURCES)
    with FolderLock(config.out, work="packs or fetches into", option="OUT"):
        count = fetched(
            catalogue,
            config.name,
            config.out,
            place=config.place,
            say=lambda line: print(printable(line), flush=True),
        )
    if count:
        print(f"{count} files of {config.name} brought to {printable(config.out)}")
    else:
        print(
            f"{config.name} is in {printable(config.out)} already; what was deleted since comes "
            f"again once {printable(config.out / DONE)} is deleted"
        )
