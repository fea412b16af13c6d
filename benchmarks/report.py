"""A folder of the ledger as a page: report.md with a table and a picture of each operator.

Cases that differ in one size only get a second picture, of curves over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vlp_fast.errors import InputError

from .comparison import Comparison, comparisons
from .ledger import Row, read
from .sweep import Sweep, sweeps
from .table import LEGEND, machine, markdown


def write_report(folder: Path) -> list[Path]:
    """Write report.md and PNGs of each operator into the folder of a device; return the files.

    Pictures need matplotlib; without it the page says so.

    Raises:
        InputError: if the folder holds no measurements, or cannot be written.
    """
    operators = {path.stem: comparisons(read(path)) for path in _files(folder)}
    written: list[Path] = []
    pictures = _has_matplotlib()
    sections = [_heading(operators), LEGEND]
    try:
        for operator, found in operators.items():
            sections += [f"## {operator}", _machines(found)]
            if pictures:
                written.append(_draw(operator, found, folder / f"{operator}.png"))
                sections.append(f"![{operator}]({operator}.png)")
            if pictures and (curves := sweeps(found)):
                written.append(_draw_sweeps(operator, curves, folder / f"{operator}-sweeps.png"))
                sections.append(f"![{operator} over its sizes]({operator}-sweeps.png)")
            sections.append(markdown(found))
        if not pictures:
            sections.append("No pictures: they need matplotlib, pip install 'vlp-fast[viz]'.")
        page = folder / "report.md"
        page.write_text("\n\n".join(sections) + "\n")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    return [page, *written]


def _files(folder: Path) -> list[Path]:
    """The CSV files of a device with rows in them."""
    found = [path for path in sorted(folder.glob("*.csv")) if read(path)]
    if not found:
        below = sorted({str(path.parent) for path in folder.glob("*/*.csv")})
        hint = f"; perhaps you meant {' or '.join(below)}" if below else ""
        raise InputError(f"{folder}: holds no measurements{hint}")
    return found


def _heading(operators: dict[str, list[Comparison]]) -> str:
    devices = {row["device"] for found in operators.values() for c in found for row in c.rows}
    return f"# Benchmarks: {'; '.join(sorted(devices))}"


def _machines(found: Sequence[Comparison]) -> str:
    """Where the figures come from, each description once."""
    rows: list[Row] = [comparison.rows[0] for comparison in found]
    return "\n".join(dict.fromkeys(machine({**row, "date": row["date"][:10]}) for row in rows))


def _draw(operator: str, found: Sequence[Comparison], path: Path) -> Path:
    from .plot import draw

    draw(operator, found, path)
    return path


def _draw_sweeps(operator: str, found: Sequence[Sweep], path: Path) -> Path:
    from .sweep_plot import draw_sweeps

    draw_sweeps(operator, found, path)
    return path


def _has_matplotlib() -> bool:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True
