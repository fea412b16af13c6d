"""Files that are whole whenever they are there: written beside, flushed to disk, renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Replace a file: after a kill or a power cut there is the old one or the new one.

    Args:
        path: the file.
        write: writes to the path that it is given, which is `.<name>.partial` beside the file; if
            it raises, the old file stays and nothing else is left.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        write(partial)
        sync(partial)
        partial.replace(path)
    except Exception:
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_json(path: Path, value: object) -> None:
    """Replace a file by indented json; what json does not know is written as its `str`."""
    text = json.dumps(value, indent=2, default=str) + "\n"
    write_whole(path, lambda partial: partial.write_text(text))


def sync(path: Path) -> None:
    """Flush a file or the names in a folder to disk."""
    if os.name == "nt":
        return  # flushes neither through a descriptor for reading
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
