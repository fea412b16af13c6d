"""Rows of the ledger as tables: ours beside each peer, for the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .case import OURS
from .record import Row

QUIET = 0.05
"""Share of the CPUs that other processes may take before a table says so."""

HEAD = ("provider", "time", "p20 to p80", "ours is", "host", "first", "compiled", "waits", "limit")
LEGEND = """\
time: median of one call. ours is: this provider's time over that of vlp_fast's default backend.
host: until the call returns. first: a call of the first run, with what it compiles and loads.
compiled: graphs and kernels compiled. waits: for the device, in a call. limit: share of the
device's nominal rates."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The providers of a case that ran side by side, ours first, with one state of the cache."""

    case: str
    cache: str
    rows: Sequence[Row]

    @property
    def title(self) -> str:
        """The case, and the state of the cache on a GPU."""
        kind = [self.rows[0]["direction"], self.rows[0]["dtype"], self.cache]
        others = float(self.rows[0]["others_cpu"] or 0)
        busy = f", others took {others:.0%} of the CPUs" if others > QUIET else ""
        return f"{self.case} ({', '.join(filter(None, kind))}{busy})"


def comparisons(rows: Iterable[Row]) -> list[Comparison]:
    """The latest run of each case in the order of the ledger, a comparison for each cache state."""
    runs: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        key = tuple(row[column] for column in ("device", "operator", "case", "direction", "dtype"))
        run = runs.setdefault(key, [])
        if run and run[0]["date"] != row["date"]:
            run.clear()
        run.append(row)
    return [comparison for run in runs.values() for comparison in _by_cache(run)]


def text(found: Sequence[Comparison]) -> str:
    """Aligned columns for the terminal, a block for each case."""
    return "\n\n".join(_block(comparison) for comparison in found)


def markdown(found: Sequence[Comparison]) -> str:
    """Tables for a page, one for each case; ours in bold."""
    return "\n\n".join(_markdown_table(comparison) for comparison in found)


def machine(row: Row) -> str:
    """Where and when a row was measured, and with what."""
    software = [f"{name} {row[name]}" for name in ("torch", "triton", "cuda", "numpy", "scipy")]
    software = [entry for entry in software if not entry.endswith(" ")]
    if row["peers"]:
        software.append(row["peers"])
    commit = f", commit {row['commit']}" if row["commit"] else ""
    waiting = f" waiting {row['omp_wait_policy']}ly" if row["omp_wait_policy"] else ""
    when = f"{row['date']}; " if row["date"] else ""
    return (
        f"{row['device']}, {row['cpu_threads']} CPU threads{waiting}; {when}"
        f"vlp_fast {row['vlp_fast']}{commit}; {', '.join(software)}"
    )


def name(row: Row) -> str:
    """A provider; ours with the backend that ran."""
    return f"{row['provider'].split()[0]} ({row['backend']})" if row["backend"] else row["provider"]


def is_ours(row: Row) -> bool:
    """Whether a row is of our default or another backend."""
    return row["provider"].split()[0] == OURS


def time(microseconds: str) -> str:
    """Three digits and the unit that suits them; empty for an empty cell."""
    if not microseconds:
        return ""
    value = float(microseconds)
    for unit, size in (("s", 1e6), ("ms", 1e3), ("us", 1.0)):
        if value >= size or unit == "us":
            return f"{three_digits(value / size)} {unit}"
    raise AssertionError


def three_digits(value: float) -> str:
    """1.23, 12.3, 123, 1234."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def ratio(row: Row, rows: Sequence[Row]) -> float | None:
    """How many times the time of ours a provider takes; `None` for ours and what has no time."""
    ours = next((other for other in rows if other["provider"] == OURS), None)
    if ours is None or row is ours or not row["median_us"] or not ours["median_us"]:
        return None
    return float(row["median_us"]) / float(ours["median_us"])


def faster(value: float | None) -> str:
    """A ratio in words: `3.20x faster` where ours is, `1.40x slower` where it is not."""
    if value is None:
        return ""
    return f"{three_digits(value)}x faster" if value >= 1 else f"{three_digits(1 / value)}x slower"


def _by_cache(run: Sequence[Row]) -> list[Comparison]:
    states = list(dict.fromkeys(row["cache"] for row in run if not row["note"])) or [""]
    return [
        Comparison(
            case=run[0]["case"],
            cache=state,
            rows=[row for row in run if row["note"] or row["cache"] == state],
        )
        for state in states
    ]


def _cells(row: Row, rows: Sequence[Row]) -> list[str]:
    span = f"{time(row['p20_us'])} to {time(row['p80_us'])}" if row["p20_us"] else ""
    share = f"{100 * float(row['limit_fraction']):.2g} %" if row["limit_fraction"] else ""
    return [
        name(row),
        row["note"] or time(row["median_us"]),
        span,
        faster(ratio(row, rows)),
        time(row["host_us"]) if row["cache"] else "",  # on a CPU it is the time
        time(row["first_us"]),
        row["compilations"],
        row["synchronisations"],
        share,
    ]


def _block(comparison: Comparison) -> str:
    lines = _lines(comparison)
    timed = [line for line in lines if len(line) > 2]
    widths = [max(map(len, column)) for column in zip(*timed, strict=True)]
    widths[0] = max(len(line[0]) for line in lines)
    aligned = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        if line in timed
        else f"{line[0].ljust(widths[0])}  {line[1]}"
        for line in lines
    ]
    return "\n".join([comparison.title, *(f"  {line.rstrip()}" for line in aligned)])


def _lines(comparison: Comparison) -> list[list[str]]:
    """Head and cells of all providers, without columns that nobody fills; two cells with a note."""
    cells = [_cells(row, comparison.rows) for row in comparison.rows]
    timed = [line for line, row in zip(cells, comparison.rows, strict=True) if not row["note"]]
    shown = [place for place in range(len(HEAD)) if any(line[place] for line in timed)]
    return [
        [HEAD[place] for place in shown or (0, 1)],
        *([line[place] for place in shown] if line in timed else line[:2] for line in cells),
    ]


def _markdown_table(comparison: Comparison) -> str:
    head, *lines = _lines(comparison)
    table = [_markdown_line(head), _markdown_line(["---", *["--:"] * (len(head) - 1)])]
    for row, line in zip(comparison.rows, lines, strict=True):
        filled = [*line, *[""] * (len(head) - len(line))]
        is_default = row["provider"] == OURS
        table.append(
            _markdown_line([f"**{cell}**" if is_default and cell else cell for cell in filled])
        )
    return "\n".join([f"### {comparison.title}", "", *table])


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
