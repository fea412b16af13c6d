"""What a packed folder holds."""

from pathlib import Path

CUT = 40_000
"""Bytes of a shard: some pictures of the small world."""


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
