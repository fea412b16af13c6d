"""Sweeps as a picture: a panel for each, a line for each provider, both axes logarithmic.

Of a GPU only the times with a cold cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from .case import OURS
from .comparison import QUIET, is_ours
from .ledger import Row
from .plot import OURS_COLOUR, PEER_COLOUR, time_tick
from .sweep import Sweep
from .table import machine

PANEL, COLUMNS = (7.6, 4.0), 2
"""Inches of a panel with its legend, and how many stand side by side."""
MARGINS = 1.1
PEER_COLOURS = ("#1d4ed8", "#047857", "#7c3aed", "#0f172a", "#0891b2", "#a16207", "#be185d")
MARKERS = "s^Dv<>PX*phd8"
"""Their number shares no factor with that of the colours: pairs repeat late. Our default is `o`."""


def draw_sweeps(title: str, found: Sequence[Sweep], path: Path) -> None:
    """Draw the panels, ours in its colour and in front.

    Args:
        title: what was measured.
        found: at least one sweep.
        path: the PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = [sweep for sweep in found if sweep.cache != "hot"] or found
    columns = min(COLUMNS, len(found))
    lines = -(-len(found) // columns)
    size = (PANEL[0] * columns, PANEL[1] * lines + MARGINS)
    figure, panels = pyplot.subplots(lines, columns, figsize=size, squeeze=False)
    colours = _colours(found)
    for axes in panels.flat[len(found) :]:
        axes.set_visible(False)
    for axes, sweep in zip(panels.flat, found, strict=False):
        _draw_panel(axes, sweep, colours)
    row = max((one.rows[0] for sweep in found for one in sweep.cases.values()), key=_date)
    heading = f"{title}: {row['device']}"
    figure.text(0.02, 1 - 0.3 / size[1], heading, fontsize=14, weight="bold", va="center")
    words = (
        f"Median time of one call; the band reaches from p20 to p80.{_load(found)}\n{machine(row)}"
    )
    figure.text(0.02, 0.1 / size[1], words, fontsize=7, color=PEER_COLOUR, wrap=True)
    figure.tight_layout(rect=(0, 0.65 / size[1], 1, 1 - 0.5 / size[1]), h_pad=1.6, w_pad=1.6)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _date(row: Row) -> str:
    return row["date"]


def _load(found: Sequence[Sweep]) -> str:
    """What other processes took at most, if that is much."""
    rows = (comparison.rows[0] for sweep in found for comparison in sweep.cases.values())
    most = max(float(row["others_cpu"] or 0) for row in rows)
    return f" Others took up to {most:.0%} of the CPUs." if most > QUIET else ""


def _colours(found: Sequence[Sweep]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each provider, the same in all panels."""
    names = dict.fromkeys(name for sweep in found for name in sweep.curves())
    markers, peers = cycle(MARKERS), cycle(PEER_COLOURS)
    return {
        name: (
            OURS_COLOUR if name.split()[0] == OURS else next(peers),
            "o" if name == OURS else next(markers),
        )
        for name in names
    }


def _draw_panel(axes: Any, sweep: Sweep, colours: dict[str, tuple[str, str]]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for name, (sizes, rows) in sweep.curves().items():
        _draw_curve(axes, name, sizes, rows, *colours[name])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(sweep.title, fontsize=9.5, weight="bold", loc="left")
    axes.set_xlabel(sweep.letter, fontsize=9, color=PEER_COLOUR)
    axes.set_xticks(list(sweep.cases), [f"{size:,}" for size in sweep.cases])
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 500 * low else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: time_tick(value)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8, labelcolor=PEER_COLOUR)
    for side in ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(False)
    _legend(axes)


def _draw_curve(
    axes: Any, name: str, sizes: list[int], rows: list[Row], colour: str, marker: str
) -> None:
    median, p20, p80 = (
        [float(row[column]) for row in rows] for column in ("median_us", "p20_us", "p80_us")
    )
    mine, is_default = is_ours(rows[0]), name == OURS
    axes.fill_between(sizes, p20, p80, color=colour, alpha=0.12, linewidth=0)
    axes.plot(
        sizes,
        median,
        marker=marker,
        markersize=6 if is_default else 4.5,
        markerfacecolor=colour if is_default or not mine else "white",
        color=colour,
        linewidth=2.4 if is_default else 1.2,
        linestyle="--" if mine and not is_default else "-",
        zorder=3 if mine else 2,
        label=name,
    )


def _legend(axes: Any) -> None:
    """Names beside the axes, in the order of their last times, the slowest on top as its line."""
    lines = sorted(axes.get_lines(), key=lambda line: -line.get_ydata()[-1])
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
    legend = axes.legend(handles=lines, fontsize=7, frameon=False, **place)
    for words, line in zip(legend.get_texts(), lines, strict=True):
        words.set_color(line.get_color())
        if line.get_label() == OURS:
            words.set_weight("bold")
