"""Figures as tables of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

LARGEST = 1e308
"""Numbers from here on no float holds, or nearly none."""


class Html(str):
    """A cell that is markup already, ours."""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; numbers stand to the right, and nothing for None.

    Args:
        head: names of columns; markup where it is `Html`.
        rows: cells: texts, numbers, None.
    """
    rows = [list(row) for row in rows]
    numbers = [
        all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(head))
    ]
    kinds = [' class="number"' if is_number else "" for is_number in numbers]
    heads = "".join(
        f"<th{kind}>{_shown(name)}</th>" for name, kind in zip(head, kinds, strict=True)
    )
    lines = "\n".join(
        "<tr>"
        + "".join(f"<td{k}>{_shown(x)}</td>" for x, k in zip(row, kinds, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table>\n<tr>{heads}</tr>\n{lines}\n</table></div>'


def numbers_of(row: Mapping[str, object]) -> dict[str, float]:
    """The figures of a line of metrics.jsonl; whole numbers that no float holds are none."""
    return {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
        if name != "step" and abs(value) < LARGEST
    }


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Html):
        return value
    if isinstance(value, float):
        return f"{value:.4g}"
    return escape(str(value))
