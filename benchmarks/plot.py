"""Rows of the ledger as a picture: a dot for each provider on a logarithmic axis of time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .case import OURS
from .comparison import Comparison, is_ours, ratio
from .ledger import Row
from .table import faster, machine, name, time

OURS_COLOUR, PEER_COLOUR, FAINT = "#c2410c", "#475569", "#94a3b8"
ROW, GAP, MARGINS = 0.27, 0.2, 1.55
"""Inches: height of a provider, above a case, of title and footer together."""
WIDTH, LABELS = 10.5, 2.75
"""Inches: of the picture, and of the names on its left."""


def draw(title: str, found: Sequence[Comparison], path: Path) -> None:
    """Draw the cases below one another, the providers of each from fastest to slowest.

    Args:
        title: what was measured.
        found: at least one case.
        path: the PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    height = sum(GAP + ROW * (len(comparison.rows) + 1) for comparison in found)
    figure = pyplot.figure(figsize=(WIDTH, height + MARGINS))
    left, bottom = LABELS / WIDTH, 0.95 / (height + MARGINS)
    axes = figure.add_axes((left, bottom, 0.97 - left, height / (height + MARGINS)))
    _prepare(axes, found, height)
    below = 0.0
    for comparison in found:
        below = _draw_case(axes, comparison, below + GAP)
    heading = f"{title}: {_last(found)['device']}"
    figure.text(
        0.02, 1 - 0.34 / (height + MARGINS), heading, fontsize=15, weight="bold", va="center"
    )
    footer = f"{_legend(found)}\n{machine(_origin(found))}"
    figure.text(0.02, 0.1 / (height + MARGINS), footer, fontsize=7.5, color=PEER_COLOUR, wrap=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _prepare(axes: Any, found: Sequence[Comparison], height: float) -> None:
    """A bare logarithmic axis with room for the figures on the right."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    times = [float(row["median_us"]) for c in found for row in c.rows if row["median_us"]] or [1.0]
    low, high = min(times) / 1.6, max(times)
    axes.set_xscale("log")
    axes.set_xlim(low, high * (max(high / low, 10.0)) ** 0.42)
    axes.set_ylim(height, 0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: time_tick(value)))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_visible(False)
    axes.grid(axis="x", color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", length=0, labelsize=8.5, labelcolor=PEER_COLOUR)
    for side in ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(False)


def _draw_case(axes: Any, comparison: Comparison, below: float) -> float:
    """Draw a case from this height downwards and return where it ends."""
    labels = axes.get_yaxis_transform()  # x in shares of the axes, y in inches
    edge = -(LABELS - 0.2) / (0.97 * WIDTH - LABELS)
    axes.text(
        edge, below, comparison.title, transform=labels, fontsize=9.5, weight="bold", va="center"
    )
    for place, row in enumerate(_sorted(comparison.rows), start=1):
        height = below + ROW * place
        colour = OURS_COLOUR if is_ours(row) else PEER_COLOUR
        weight = "bold" if row["provider"] == OURS else "normal"
        axes.text(
            -0.015,
            height,
            name(row),
            transform=labels,
            fontsize=8.5,
            color=colour if row["median_us"] else FAINT,
            weight=weight,
            ha="right",
            va="center",
        )
        if row["median_us"]:
            _draw_time(axes, row, comparison.rows, height, colour)
        else:
            axes.text(
                0.008, height, row["note"], transform=labels, fontsize=8, color=FAINT, va="center"
            )
    return below + ROW * (len(comparison.rows) + 1)


def _draw_time(axes: Any, row: Row, rows: Sequence[Row], height: float, colour: str) -> None:
    """A dot at the median, a bar from p20 to p80, the figure and what ours is beside it."""
    median, p20, p80 = (float(row[column]) for column in ("median_us", "p20_us", "p80_us"))
    is_default = row["provider"] == OURS
    axes.hlines(height, axes.get_xlim()[0], median, color=colour, linewidth=0.8, alpha=0.3)
    axes.hlines(height, p20, p80, color=colour, linewidth=5, alpha=0.28, capstyle="round")
    face = colour if is_default or not is_ours(row) else "white"
    axes.plot(median, height, "o", color=colour, markerfacecolor=face, markersize=6.5)
    comparison = faster(ratio(row, rows))
    words = time(row["median_us"]) + (f"   vlp_fast {comparison}" if comparison else "")
    axes.annotate(
        words,
        (max(median, p80), height),
        xytext=(9, 0),
        textcoords="offset points",
        fontsize=8.5,
        color=colour,
        weight="bold" if is_default else "normal",
        va="center",
    )


def _sorted(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: float(row["median_us"] or "inf"))


def time_tick(microseconds: float) -> str:
    """A round number and the unit that suits it."""
    for unit, size in (("s", 1e6), ("ms", 1e3), ("us", 1.0)):
        if microseconds >= size:
            return f"{microseconds / size:g} {unit}"
    return f"{1e3 * microseconds:g} ns"


def _legend(found: Sequence[Comparison]) -> str:
    others = any(is_ours(row) and row["provider"] != OURS for c in found for row in c.rows)
    hollow = " A hollow dot is vlp_fast on another backend, or layer by layer." if others else ""
    return (
        "Median time of one call; the bar reaches from p20 to p80. Behind a provider's time, how "
        f"vlp_fast does beside it.{hollow}"
    )


def _last(found: Sequence[Comparison]) -> Row:
    return max((row for comparison in found for row in comparison.rows), key=lambda r: r["date"])


def _origin(found: Sequence[Comparison]) -> Row:
    """The latest row with the commits and days of all."""
    rows = sorted((row for c in found for row in c.rows), key=lambda row: row["date"])
    commits = dict.fromkeys(row["commit"] for row in rows)
    days = dict.fromkeys(row["date"][:10] for row in rows)
    return {**rows[-1], "commit": " and ".join(commits), "date": " and ".join(days)}
