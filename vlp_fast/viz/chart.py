"""Curves over steps as SVG, a figure a chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from vlp_fast.viz.colours import COLOURS, colour_and_mark, mark_svg

WIDTH, HEIGHT = 320, 180
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 22, 22
POINTS = 300
"""Of a curve that are drawn; more of them cannot be told apart."""

LARGEST = 1e300
"""Numbers from here on have no room above them; NaN is below nothing."""

DASHES = "5 3"
"""Of dashed lines: pixels of a dash, and of a gap."""

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Look:
    """Of a curve.

    Attributes:
        number: of its colour and its mark.
        dashed: whether the line is.
    """

    number: int
    dashed: bool = False


def chart(title: str, curves: Mapping[str, Curve], looks: Mapping[str, Look] | None = None) -> str:
    """One chart of some curves; their names are in it where there are several that look alike.

    Args:
        title: above it.
        curves: (step, value) of each, by name; values that are not finite are left out.
        looks: of each curve, where a legend says elsewhere what they mean; None for a colour each,
            with their names.
    """
    kept = {name: thinned(finite(curve)) for name, curve in curves.items()}
    kept = {name: curve for name, curve in kept.items() if curve}
    if not kept:
        return ""
    steps = [step for curve in kept.values() for step, _ in curve]
    values = [value for curve in kept.values() for _, value in curve]
    across, up = _scale(min(steps), max(steps)), _scale(min(values), max(values))
    parts = [_frame(title, across, up)]
    usual = {name: Look(number=number) for number, name in enumerate(kept)}
    for name, curve in kept.items():
        places = [(_x(step, across), _y(value, up)) for step, value in curve]
        told = f"{name}: {curve[-1][1]:.4g} at step {curve[-1][0]:g}"
        parts.append(_line(told, places, (looks or usual)[name]))
    if len(kept) > 1 and looks is None:
        parts += _legend(list(kept))
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title, quote=True)}">{"".join(parts)}</svg>'
    )


def swatch(number: int) -> str:
    """A line, a dashed line and a mark, as the curves of the run with that number have them."""
    colour, mark = colour_and_mark(number)
    return (
        '<svg viewBox="0 0 68 16" aria-hidden="true">'
        f'<line x1="1" x2="30" y1="8" y2="8" stroke="{colour}" stroke-width="2"/>'
        f'<line x1="38" x2="67" y1="8" y2="8" stroke="{colour}" stroke-width="2" '
        f'stroke-dasharray="{DASHES}"/>{mark_svg(mark, 34, 8, colour)}</svg>'
    )


def bars(title: str, heights: Sequence[tuple[str, float]]) -> str:
    """A chart of bars from 0 up, one beside another.

    Args:
        title: above it.
        heights: what each is of, and its height.
    """
    top = max((value for _, value in heights), default=0.0) or 1.0
    up, across = (0.0, top * 1.05), (0.0, float(len(heights) or 1))
    width = (WIDTH - LEFT - RIGHT) / (len(heights) or 1)
    parts = [_frame(title, across, up)]
    for place, (name, value) in enumerate(heights):
        x, y = _x(place, across), _y(value, up)
        parts.append(
            f'<rect x="{x:.2f}" y="{y:.1f}" width="{max(width - 0.3, 0.3):.2f}" '
            f'height="{HEIGHT - BOTTOM - y:.1f}" fill="{COLOURS[0]}">'
            f"<title>{escape(name)}: {value:g}</title></rect>"
        )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title, quote=True)}">{"".join(parts)}</svg>'
    )


def finite(curve: Curve) -> list[tuple[float, float]]:
    """Its points that are numbers, and such that can be drawn."""
    return [
        (float(step), value)
        for step, value in curve
        if value is not None and abs(value) < LARGEST and abs(step) < LARGEST
    ]


def thinned(curve: Curve) -> list[tuple[float, float]]:
    """At most `POINTS` of its points, evenly, the last among them."""
    stride = max(1, math.ceil(len(curve) / POINTS))
    return list(curve)[::-1][::stride][::-1]


def _scale(low: float, high: float) -> tuple[float, float]:
    """A range with some room, also where there is but one value."""
    least = max(abs(low), abs(high)) * 1e-9  # closer numbers are one to a chart
    room = (high - low) * 0.05 if high - low > least else abs(high) * 0.1 or 1.0
    return (low - room, high + room)


def _x(step: float, across: tuple[float, float]) -> float:
    low, high = across
    return LEFT + (step - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def _y(value: float, up: tuple[float, float]) -> float:
    low, high = up
    return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _frame(title: str, across: tuple[float, float], up: tuple[float, float]) -> str:
    lines = []
    for value in ticks(*up):
        y = _y(value, up)
        lines.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8883"/>'
            f'<text x="{LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{value:.6g}</text>'
        )
    for value in ticks(*across):
        x = _x(value, across)
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{value:g}</text>')
    return f'<text x="{LEFT}" y="13" font-weight="bold">{escape(title)}</text>{"".join(lines)}'


def _line(told: str, places: Sequence[tuple[float, float]], look: Look) -> str:
    colour, mark = colour_and_mark(look.number)
    dashes = f' stroke-dasharray="{DASHES}"' if look.dashed else ""
    described = f"<title>{escape(told)}</title>"
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    x, y = places[-1]
    return (
        f'<g>{described}<polyline points="{path}" fill="none" stroke="{colour}" '
        f'stroke-width="1.5"{dashes}/>{mark_svg(mark, x, y, colour)}</g>'
    )


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    for place, name in enumerate(names):
        y, colour = TOP + 8 + 11 * place, colour_and_mark(place)[0]
        parts.append(
            f'<text class="name" x="{WIDTH - RIGHT}" y="{y}" text-anchor="end" fill="{colour}">'
            f"{escape(name)}</text>"
        )
    return parts


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers between two, about so many."""
    rough = (high - low) / count
    size = 10.0 ** math.floor(math.log10(rough))
    stride = next(size * unit for unit in (1, 2, 5, 10) if size * unit >= rough)
    first = math.ceil(low / stride)
    return [number * stride for number in range(first, math.floor(high / stride) + 1)]
