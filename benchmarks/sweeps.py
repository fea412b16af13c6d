"""Cases that differ in one number only, as curves over it: a panel for each, a line a provider.

A name says its sizes as a letter with a number (`assign-N4096-K2048-D768`). Cases of one dtype
and direction whose names agree in all but one such number are a sweep over it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from .ledger import Row
from .report import OURS, QUIET, SECONDS, Comparison, machine

FEWEST = 3
"""Cases from which a curve is worth a look."""
SIZE = re.compile(r"(?<![A-Za-z0-9])([A-Z])(\d+)(?![A-Za-z0-9])")
PANEL, COLUMNS, MARGINS = (7.6, 4.0), 2, 1.1
"""Inches of a panel with its legend, how many stand side by side, and inches around them."""
OURS_COLOUR, FAINT = "#c2410c", "#475569"
PEER_COLOURS = ("#1d4ed8", "#047857", "#7c3aed", "#0f172a", "#0891b2", "#a16207", "#be185d")
MARKERS = "s^Dv<>PX*phd8"
"""Their number shares no factor with that of the colours: pairs repeat late. Our default is `o`."""


class Sweep(NamedTuple):
    """Cases over one of their sizes, from small to large."""

    letter: str
    title: str
    """The name that they share, without the size; direction and dtype."""
    cases: Mapping[int, Comparison]
    """By size."""

    def curves(self) -> dict[str, dict[int, Row]]:
        """Rows by size of each provider that was measured at several, as they come."""
        found: dict[str, dict[int, Row]] = {}
        for size, comparison in self.cases.items():
            for row in (row for row in comparison.rows if row["median_us"]):
                found.setdefault(row["provider"], {})[size] = row
        return {name: rows for name, rows in found.items() if len(rows) > 1}


def find(found: Sequence[Comparison]) -> list[Sweep]:
    """The sweeps among cases of one operator."""
    groups: dict[tuple[str, ...], dict[int, Comparison]] = {}
    for comparison in found:
        kind = tuple(comparison.rows[0][name] for name in ("direction", "dtype"))
        for match in SIZE.finditer(comparison.case):
            rest = comparison.case[: match.start()] + comparison.case[match.end() :]
            title = f"{rest.replace('--', '-').strip('-')} ({', '.join(kind)})"
            groups.setdefault((match[1], title), {})[int(match[2])] = comparison
    return [
        Sweep(letter, title, dict(sorted(cases.items())))
        for (letter, title), cases in groups.items()
        if len(cases) >= FEWEST
    ]


def draw(title: str, found: Sequence[Sweep], path: Path) -> None:
    """Draw the panels, both axes logarithmic, ours in its colour and in front.

    Args:
        title: what was measured.
        found: at least one sweep.
        path: the PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(COLUMNS, len(found))
    lines = -(-len(found) // columns)
    size = (PANEL[0] * columns, PANEL[1] * lines + MARGINS)
    figure, panels = pyplot.subplots(lines, columns, figsize=size, squeeze=False)
    for axes in panels.flat[len(found) :]:
        axes.set_visible(False)
    styles = _styles(dict.fromkeys(name for sweep in found for name in sweep.curves()))
    for axes, sweep in zip(panels.flat, found, strict=False):
        _draw_panel(axes, sweep, styles)
    rows = [one.rows[0] for sweep in found for one in sweep.cases.values()]
    latest = max(rows, key=lambda row: row["date"])
    most = max(float(row["others_cpu"] or 0) for row in rows)
    busy = f" Others took up to {most:.0%} of the CPUs." if most > QUIET else ""
    words = f"Median time of one call; the band reaches from p20 to p80.{busy}\n{machine(latest)}"
    figure.suptitle(f"{title}: {latest['device']}", x=0.02, ha="left", weight="bold")
    figure.text(0.02, 0.1 / size[1], words, fontsize=7, color=FAINT, wrap=True)
    figure.tight_layout(rect=(0, 0.65 / size[1], 1, 1), h_pad=1.6, w_pad=1.6)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _styles(names: Mapping[str, None]) -> dict[str, dict[str, Any]]:
    """How each provider is drawn, the same in all panels."""
    markers, colours, found = cycle(MARKERS), cycle(PEER_COLOURS), dict[str, dict[str, Any]]()
    for name in names:
        is_default, mine = name == OURS, name.split()[0] == OURS
        found[name] = {
            "color": OURS_COLOUR if mine else next(colours),
            "marker": "o" if is_default else next(markers),
            "linewidth": 2.4 if is_default else 1.2,
            "linestyle": "--" if mine and not is_default else "-",
            "zorder": 3 if mine else 2,
            "label": name,
        }
    return found


def _draw_panel(axes: Any, sweep: Sweep, styles: dict[str, dict[str, Any]]) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    for name, rows in sweep.curves().items():
        median, p20, p80 = (
            [float(row[column]) for row in rows.values()]
            for column in ("median_us", "p20_us", "p80_us")
        )
        axes.fill_between(list(rows), p20, p80, color=styles[name]["color"], alpha=0.12)
        axes.plot(list(rows), median, **styles[name])
    axes.set(xscale="log", yscale="log", xlabel=sweep.letter)
    axes.set_title(sweep.title, fontsize=9.5, weight="bold", loc="left")
    axes.set_xticks(list(sweep.cases), [f"{size:,}" for size in sweep.cases])
    axes.xaxis.set_minor_locator(NullLocator())
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(FuncFormatter(lambda value, _: _time_tick(value)))
    axes.tick_params(which="both", length=0, labelsize=8, labelcolor=FAINT)
    axes.grid(color="#e2e8f0", linewidth=0.8)
    axes.spines[:].set_visible(False)
    # Names beside the axes, in the order of their last times, the slowest on top as its line.
    handles = sorted(axes.get_lines(), key=lambda line: -line.get_ydata()[-1])
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
    axes.legend(handles=handles, fontsize=7, frameon=False, labelcolor="linecolor", **place)


def _time_tick(microseconds: float) -> str:
    """A round number and its unit; between powers of ten only 2 and 5."""
    unit, size = next((unit for unit in SECONDS if microseconds >= unit[1]), ("ns", 1e-3))
    number = f"{microseconds / size:g}"
    return f"{number} {unit}" if number[0] in "125" else ""
