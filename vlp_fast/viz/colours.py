"""Colours and marks that people tell apart who see fewer colours, on white and on black."""

from __future__ import annotations

COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b98a00", "#56a7d9", "#7f7f7f", "#8a5a2b"),
)
"""After Okabe and Ito (2008), "Color Universal Design": blue, vermilion, green, purple, ochre, sky,
grey, brown; their yellow and orange are darker here, and their black, which a dark page hides, is
grey."""
MARKS = ("circle", "square", "diamond", "triangle")
"""At the end of a curve: after eight curves colours come again, with other marks."""


def colour_and_mark(number: int) -> tuple[str, str]:
    """Of the thing with that number, from 0; 32 differ."""
    return COLOURS[number % len(COLOURS)], MARKS[(number + number // len(COLOURS)) % len(MARKS)]


def mark_svg(mark: str, x: float, y: float, colour: str) -> str:
    """A mark at a place of an SVG."""
    if mark == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.8" fill="{colour}"/>'
    corners = {
        "square": ((-2.6, -2.6), (2.6, -2.6), (2.6, 2.6), (-2.6, 2.6)),
        "diamond": ((0, -3.6), (3.6, 0), (0, 3.6), (-3.6, 0)),
        "triangle": ((0, -3.4), (3.3, 2.6), (-3.3, 2.6)),
    }[mark]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" fill="{colour}"/>'
