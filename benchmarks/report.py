"""A folder of the ledger as a page: report.md with a line for each case, and curves over sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from vlp_fast.errors import InputError

from .ledger import QUICK, Row, read

OURS = "vlp_fast"
QUIET = 0.05
"""Share of the CPUs that other processes may take before a table says so."""
LEGEND = """\
Medians of one call; vlp_fast by its default backend, others from the fastest. limit: share of the
device's nominal rates. All else that was measured is in the CSV files."""
HEAD = ("case", "vlp_fast", "limit", "others", "vlp_fast is")
SECONDS = (("s", 1e6), ("ms", 1e3), ("us", 1.0))


class Comparison(NamedTuple):
    """The providers of a case that ran side by side."""

    case: str
    rows: Sequence[Row]

    @property
    def title(self) -> str:
        """The case, and what its figures are worth."""
        others = float(self.rows[0]["others_cpu"] or 0)
        kind = [self.rows[0]["direction"], self.rows[0]["dtype"]]
        kind += [f"others took {others:.0%} of the CPUs"] * (others > QUIET)
        kind += ["a quick run: figures mean little"] * any(r["note"] == QUICK for r in self.rows)
        return f"{self.case} ({', '.join(kind)})"


def comparisons(rows: Iterable[Row]) -> list[Comparison]:
    """The latest run of each case in the order of the ledger; a quick one if there is no other."""
    cases: dict[tuple[str, ...], dict[str, list[Row]]] = {}
    for row in rows:
        key = tuple(row[column] for column in ("device", "operator", "case", "direction", "dtype"))
        cases.setdefault(key, {}).setdefault(row["date"], []).append(row)
    found = []
    for runs in cases.values():
        run = max(runs.values(), key=lambda r: (all(x["note"] != QUICK for x in r), r[0]["date"]))
        found.append(Comparison(run[0]["case"], run))
    return found


def write_report(folder: Path) -> list[Path]:
    """Write report.md and pictures of curves into the folder of a device; return the files.

    Pictures need matplotlib; without it the page says so.

    Raises:
        InputError: if the folder holds no measurements, or cannot be written.
    """
    operators = {path.stem: comparisons(rows) for path, rows in _files(folder).items()}
    devices = {c.rows[0]["device"] for found in operators.values() for c in found}
    sections, written = (
        [f"# Benchmarks: {'; '.join(sorted(devices))}", LEGEND],
        [folder / "report.md"],
    )
    try:
        for operator, found in operators.items():
            machines = dict.fromkeys(machine(c.rows[0]) for c in found)
            picture = _draw(operator, found, folder)
            if isinstance(picture, Path):
                written.append(picture)
                picture = f"![{operator} over its sizes]({picture.name})"
            sections += [f"## {operator}", "\n".join(machines), picture, table(found)]
        written[0].write_text("\n\n".join(filter(None, sections)) + "\n")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    return written


def machine(row: Row) -> str:
    """Where and when a row was measured, and with what."""
    names = ("torch", "triton", "cuda", "numpy", "scipy")
    software = [f"{name} {row[name]}" for name in names if row[name]] + [row["peers"]]
    commit = f"commit {row['commit']}" if row["commit"] else "COMMIT UNKNOWN (VLP_FAST_COMMIT)"
    waiting = f" waiting {row['omp_wait_policy']}ly" if row["omp_wait_policy"] else ""
    return (
        f"{row['device']}, {row['cpu_threads']} CPU threads{waiting}; {row['date'][:10]}; "
        f"vlp_fast {row['vlp_fast']}, {commit}; {', '.join(filter(None, software))}"
    )


def table(found: Iterable[Comparison]) -> str:
    """In Markdown, a line for each case; a note in place of figures of who was not measured."""
    lines = [HEAD, ("---", *["--:"] * (len(HEAD) - 1)), *map(_cells, found)]
    written = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
    return "\n".join(f"| {line} |" for line in written)


def _cells(comparison: Comparison) -> tuple[str, ...]:
    ours = next((row for row in comparison.rows if row["provider"] == OURS), None)
    timed = [row for row in comparison.rows if row is not ours and row["median_us"]]
    others = sorted(timed, key=lambda row: float(row["median_us"]))
    absent = [row for row in comparison.rows if not row["median_us"]]
    told = [f"{row['provider']} {_time(row)}" for row in others]
    told += [f"{row['provider']}: {row['note']}" for row in absent if row is not ours]
    peer = next((row for row in others if row["provider"].split()[0] != OURS), None)
    limit = ours["limit_fraction"] if ours else ""
    return (
        comparison.title,
        f"{_time(ours)} {ours['backend']}".strip() if ours else "",
        f"{100 * float(limit):.2g} %" if limit else "",
        "; ".join(told),
        _factor(ours, peer) if ours and peer else "",
    )


def _factor(ours: Row, peer: Row) -> str:
    """Beside the fastest of others."""
    if not ours["median_us"]:
        return ""
    ratio = float(peer["median_us"]) / float(ours["median_us"])
    word = "faster" if ratio >= 1 else "slower"
    return f"{_three_digits(max(ratio, 1 / ratio))}x {word}"


def _time(row: Row) -> str:
    """Three digits and the unit that suits them, or why there are none."""
    if not row["median_us"]:
        return row["note"]
    median = float(row["median_us"])
    unit, size = next((unit for unit in SECONDS if median >= unit[1]), SECONDS[-1])
    return f"{_three_digits(median / size)} {unit}"


def _three_digits(value: float) -> str:
    """1.23, 12.3, 123, 1234."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _files(folder: Path) -> dict[Path, list[Row]]:
    """The CSV files of a device with rows in them."""
    found = {path: rows for path in sorted(folder.glob("*.csv")) if (rows := read(path))}
    if not found:
        below = sorted({str(path.parent) for path in folder.glob("*/*.csv")})
        hint = f"; perhaps you meant {' or '.join(below)}" if below else ""
        raise InputError(f"{folder}: holds no measurements{hint}")
    return found


def _draw(operator: str, found: Sequence[Comparison], folder: Path) -> Path | str:
    """A picture of the curves, nothing if there is none, or what is missing."""
    from . import sweeps

    curves, path = sweeps.find(found), folder / f"{operator}-sweeps.png"
    try:
        if curves:
            sweeps.draw(operator, curves, path)
    except ImportError:
        return "No picture: it needs matplotlib, pip install 'vlp-fast[viz]'."
    return path if curves else ""
