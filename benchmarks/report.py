"""A folder of the ledger as a page: report.md with a table of each case, and curves over sizes."""

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
time: median of one call. vlp_fast is: how much faster or slower vlp_fast's default backend is than
the provider of that row. host: until the call returns. wall: until the device is idle again.
first: a call of the first run, with what this process compiles and loads; what a compiler found in
its caches on disk, from an earlier process, is not in it. compiled: graphs and kernels compiled.
waits: for the device, in a call. limit: share of the device's nominal rates. memory: of a run at
its peak, beyond what was there before. wrong: share of a solution's parts that are not the best."""
SECONDS = (("s", 1e6), ("ms", 1e3), ("us", 1.0))


class Comparison(NamedTuple):
    """The providers of a case that ran side by side, with one state of the cache."""

    case: str
    cache: str
    rows: Sequence[Row]

    @property
    def title(self) -> str:
        """The case, the state of the cache on a GPU, and what its figures are worth."""
        others = float(self.rows[0]["others_cpu"] or 0)
        kind = [self.rows[0]["direction"], self.rows[0]["dtype"], self.cache]
        kind += [f"others took {others:.0%} of the CPUs"] * (others > QUIET)
        kind += ["a quick run: figures mean little"] * any(r["note"] == QUICK for r in self.rows)
        return f"{self.case} ({', '.join(filter(None, kind))})"


def comparisons(rows: Iterable[Row]) -> list[Comparison]:
    """The latest run of each case in the order of the ledger, a comparison for each cache state.

    A quick run counts only where there is no other. Who was not measured stands in each state.
    """
    cases: dict[tuple[str, ...], dict[str, list[Row]]] = {}
    for row in rows:
        key = tuple(row[column] for column in ("device", "operator", "case", "direction", "dtype"))
        cases.setdefault(key, {}).setdefault(row["date"], []).append(row)
    found = []
    for runs in cases.values():
        run = max(runs.values(), key=lambda r: (all(x["note"] != QUICK for x in r), r[0]["date"]))
        for cache in dict.fromkeys(row["cache"] for row in run if row["median_us"]) or [""]:
            side = [row for row in run if not row["median_us"] or row["cache"] == cache]
            found.append(Comparison(run[0]["case"], cache, side))
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
            sections += [f"## {operator}", "\n".join(machines), picture, *map(table, found)]
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


def table(comparison: Comparison) -> str:
    """In Markdown, ours in bold, without columns that nobody fills; a note in place of figures."""
    cells = [_cells(row, comparison.rows) for row in comparison.rows]
    shown = [name for name in cells[0] if any(line[name] for line in cells)]
    lines = [shown, ["---", *["--:"] * (len(shown) - 1)]]
    for row, line in zip(comparison.rows, cells, strict=True):
        bold = "**" if row["provider"] == OURS else ""
        lines.append([f"{bold}{line[name]}{bold}" if line[name] else "" for name in shown])
    written = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
    return "\n".join([f"### {comparison.title}", "", *(f"| {line} |" for line in written)])


def _cells(row: Row, rows: Sequence[Row]) -> dict[str, str]:
    columns = ("median", "p20", "p80", "host", "wall", "first")
    median, p20, p80, host, wall, first = (_quantity(row[f"{c}_us"], SECONDS) for c in columns)
    backend, provider = row["backend"], row["provider"]
    ours = next((other for other in rows if other["provider"] == OURS), row)
    ratio = 0.0
    if ours is not row and median and ours["median_us"]:
        ratio = float(row["median_us"]) / float(ours["median_us"])
    factor = f"{_three_digits(max(ratio, 1 / ratio))}x " if ratio else ""
    percent = {
        name: f"{100 * float(row[name] or 0):.2g} %" for name in ("limit_fraction", "wrong_share")
    }
    return {
        "provider": f"{provider.removesuffix(backend).strip()} ({backend})"
        if backend
        else provider,
        "time": median or row["note"],
        "p20 to p80": f"{p20} to {p80}" if p20 else "",
        "vlp_fast is": factor and factor + ("faster" if ratio >= 1 else "slower"),
        "host": row["cache"] and host,  # on a CPU all three are the time
        "wall": row["cache"] and wall,
        "first": median and first,
        "compiled": row["compilations"],
        "waits": row["synchronisations"],
        "limit": row["limit_fraction"] and percent["limit_fraction"],
        "memory": _quantity(row["extra_mib"], (("GiB", 1024.0), ("MiB", 1.0))),
        "wrong": row["wrong_share"] and percent["wrong_share"],
    }


def _quantity(value: str, units: Sequence[tuple[str, float]]) -> str:
    """Three digits and the unit that suits them; empty for an empty cell."""
    if not value:
        return ""
    unit, size = next((unit for unit in units if float(value) >= unit[1]), units[-1])
    return f"{_three_digits(float(value) / size)} {unit}"


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
