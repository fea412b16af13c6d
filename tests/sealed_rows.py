"""Tables of what compilers made of each kernel, whose rows are sealed with what they came from.

A seal is the hash of a kernel's source and of the figures in its row, so it breaks when either
changes: where it holds, compiling would give the same row again. Seals cannot tell a figure that
was invented together with its seal; a sample that is compiled for real each time does.
"""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

Row = dict[str, str]
REPAIR = "write the tables anew: `make tables`"


def digest(*parts: object) -> str:
    """A short hash of anything whose repr says all of it."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def sealed(figures: Mapping[str, object], source: str) -> Row:
    """A row as the table holds it; `source` is the hash of all that was compiled."""
    row = {name: str(value) for name, value in figures.items() if name != "seal"}
    return row | {"seal": digest(source, sorted(row.items()))}


def is_of(row: Row, source: str) -> bool:
    """Whether a row was compiled from this source, and left as it was."""
    return row == sealed(row, source)


def read_rows(table: Path) -> list[Row]:
    """The rows of a table; of none, if there is no such file."""
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(table: Path, rows: Sequence[Row]) -> None:
    """Put rows in place of a table."""
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def sample(count: int, *of: object) -> int:
    """One number below `count`: the same for the same `of`, another when any of them changes."""
    return int(digest(*of), 16) % count
