"""Held-out figures of columns, side by side for people; metrics.jsonl has them by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

DASH = "-"
"""Where a column lacks a figure."""


def in_columns(
    figures: Mapping[str, float], columns: Sequence[str]
) -> tuple[dict[str, float], list[str]]:
    """Sort figures into those of no column and a table of the others.

    Args:
        figures: by name; one of a column is called ROW_COLUMN.
        columns: their names, in order.

    Returns:
        The figures of no column, and the lines of the table; none without any.
    """
    rows: dict[str, dict[str, float]] = {}
    rest = {}
    for name, value in figures.items():
        column = next((column for column in columns if name.endswith(f"_{column}")), None)
        if column is None:
            rest[name] = value
        else:
            rows.setdefault(name.removesuffix(f"_{column}"), {})[column] = value
    if not rows:
        return rest, []
    columns = [column for column in columns if any(column in values for values in rows.values())]
    width, cell = max(map(len, rows)), max(9, *map(len, columns))
    head = "  ".join([" " * width, *(f"{column:>{cell}s}" for column in columns)])
    body = [
        "  ".join([f"{row:{width}s}", *(_cell(values, column, cell) for column in columns)])
        for row, values in rows.items()
    ]
    return rest, [head, *body]


def _cell(values: Mapping[str, float], column: str, width: int) -> str:
    return f"{values[column]:{width}.4f}" if column in values else f"{DASH:>{width}s}"
