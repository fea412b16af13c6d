"""Rows of the ledger as tables: ours beside each peer, for the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from .case import OURS
from .comparison import Comparison, is_measured, ratio
from .ledger import Row

HEAD = (
    *("provider", "time", "p20 to p80", "vlp_fast is", "host", "wall"),
    *("first", "compiled", "waits", "limit", "memory", "wrong"),
)
LEGEND = """\
time: median of one call. vlp_fast is: how much faster or slower vlp_fast's default backend is than
the provider of that row. host: until the call returns. wall: until the device is idle again.
first: a call of the first run, with what this process compiles and loads; what a compiler found in
its caches on disk, from an earlier process, is not in it. compiled: graphs and kernels compiled.
waits: for the device, in a call. limit: share of the device's nominal rates. memory: of a run at
its peak, beyond what was there before. wrong: share of a solution's parts that are not the best."""


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
    commit = f"commit {row['commit']}" if row["commit"] else "COMMIT UNKNOWN (VLP_FAST_COMMIT)"
    waiting = f" waiting {row['omp_wait_policy']}ly" if row["omp_wait_policy"] else ""
    when = f"{row['date']}; " if row["date"] else ""
    return (
        f"{row['device']}, {row['cpu_threads']} CPU threads{waiting}; {when}"
        f"vlp_fast {row['vlp_fast']}, {commit}; {', '.join(software)}"
    )


def name(row: Row) -> str:
    """A provider; ours with the backend that ran."""
    if not row["backend"]:
        return row["provider"]
    return f"{row['provider'].removesuffix(row['backend']).strip()} ({row['backend']})"


def time(microseconds: str) -> str:
    """Three digits and the unit that suits them; empty for an empty cell."""
    if not microseconds:
        return ""
    value = float(microseconds)
    for unit, size in (("s", 1e6), ("ms", 1e3), ("us", 1.0)):
        if value >= size or unit == "us":
            return f"{three_digits(value / size)} {unit}"
    raise AssertionError


def memory(mib: str) -> str:
    """Three digits and the unit that suits them; empty for an empty cell."""
    if not mib:
        return ""
    value = float(mib)
    return f"{three_digits(value / 1024)} GiB" if value >= 1024 else f"{three_digits(value)} MiB"


def percent(share: str) -> str:
    """Two digits; empty for an empty cell."""
    return f"{100 * float(share):.2g} %" if share else ""


def three_digits(value: float) -> str:
    """1.23, 12.3, 123, 1234."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def faster(value: float | None) -> str:
    """A ratio in words: `3.20x faster` where ours is, `1.40x slower` where it is not."""
    if value is None:
        return ""
    return f"{three_digits(value)}x faster" if value >= 1 else f"{three_digits(1 / value)}x slower"


def _cells(row: Row, rows: Sequence[Row]) -> list[str]:
    span = f"{time(row['p20_us'])} to {time(row['p80_us'])}" if row["p20_us"] else ""
    share = percent(row["limit_fraction"])
    return [
        name(row),
        time(row["median_us"]) or row["note"],
        span,
        faster(ratio(row, rows)),
        time(row["host_us"]) if row["cache"] else "",  # on a CPU both are the time
        time(row["wall_us"]) if row["cache"] else "",
        time(row["first_us"]),
        row["compilations"],
        row["synchronisations"],
        share,
        memory(row["extra_mib"]),
        percent(row["wrong_share"]),
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
    timed = [line for line, row in zip(cells, comparison.rows, strict=True) if is_measured(row)]
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
