"""The drawing of the rooms of the package, from the rules that tests/test_architecture.py enforces.

    python docs/building/rooms.py     writes docs/pictures/rooms.svg

A room stands above every room that it may import from. Of the arrows those are left out that
others imply: where A may import from B and C, and B from C, A to C is not drawn.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
RULES = ROOT / "tests/test_architecture.py"
DRAWING = ROOT / "docs/pictures/rooms.svg"
Rules = Mapping[str, set[str]]

COLUMN = {"kernels": 0, "reference": 1, "native": 2, "metrics": 3}
COLUMN |= {"swaps": 0, "data": 3, "benchmarks": 2.5, "viz": 0.5, "inference": 0.5}
MIDDLE = 1.5
CALLED = {"native": "native, csrc/"}
BOX_WIDTH, BOX_HEIGHT, COLUMN_WIDTH, ROW_HEIGHT, MARGIN = 126, 34, 146, 66, 16


def rules(file: Path = RULES) -> dict[str, set[str]]:
    """Room -> rooms that it may import from, for those that are folders, and the native code."""
    names: dict[str, dict[str, set[str]]] = {}
    for node in ast.parse(file.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        wanted = {ast.unparse(target) for target in targets if target is not None}
        if wanted & {"MODEL_ROOMS", "STEP_ROOMS", "MAY_IMPORT"}:
            exec(compile(ast.Module([node], []), str(file), "exec"), names)
    found = names["MAY_IMPORT"]
    drawn = {room for room in found if is_drawn(room)}
    return {room: below & drawn for room, below in found.items() if room in drawn}


def is_drawn(room: str) -> bool:
    """Whether a room is a folder, here or mapped into the package; single files are not drawn."""
    folders = (ROOT / "vlp_fast" / room, ROOT / room)
    return room == "native" or any((folder / "__init__.py").is_file() for folder in folders)


def arrows(may: Rules) -> list[tuple[str, str]]:
    """Pairs (room, room it may import from) that no other pair implies."""
    return [
        (room, below)
        for room in sorted(may)
        for below in sorted(may[room])
        if not any(below in reachable(other, may) for other in may[room] - {below})
    ]


def reachable(room: str, may: Rules) -> set[str]:
    """Every room below a room."""
    found = set(may[room])
    for below in may[room]:
        found |= reachable(below, may)
    return found


def level(room: str, may: Rules) -> int:
    """Rows from the ground: one above the highest room that it may import from."""
    return 1 + max((level(below, may) for below in may[room]), default=-1)


def places(may: Rules) -> dict[str, tuple[float, float]]:
    """Centre of each box; those without a column of their own stand where there is room."""
    rows: dict[int, list[str]] = {}
    for room in sorted(may, key=lambda room: (room not in COLUMN, room)):
        rows.setdefault(level(room, may), []).append(room)
    found = {}
    for row, rooms in rows.items():
        taken: list[float] = []
        for room in rooms:
            free = [c for c in (MIDDLE, 0, 3, 4, 5, 6) if all(abs(c - t) >= 1 for t in taken)]
            column = COLUMN.get(room, free[0])
            taken.append(column)
            x = MARGIN + BOX_WIDTH / 2 + column * COLUMN_WIDTH
            y = MARGIN + BOX_HEIGHT / 2 + (len(rows) - 1 - row) * ROW_HEIGHT
            found[room] = x, y
    return found


def drawing(may: Rules) -> str:
    """The picture, as a file of SVG."""
    centres = places(may)
    width = max(x for x, _ in centres.values()) + BOX_WIDTH / 2 + MARGIN
    height = max(y for _, y in centres.values()) + BOX_HEIGHT / 2 + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" font-family="sans-serif" font-size="15">',
        "<title>Rooms of vlp_fast: arrows lead to what a room may import from</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#52606d"/></marker></defs>',
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#ffffff"/>',
        *(_arrow(centres[room], centres[below]) for room, below in arrows(may)),
        *(_box(room, *centre) for room, centre in centres.items()),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x0, y0), (x1, y1) = start, end
    y0, y1 = y0 + BOX_HEIGHT / 2, y1 - BOX_HEIGHT / 2 - 1
    bend = ROW_HEIGHT - BOX_HEIGHT
    path = f"M{x0:g} {y0:g}C{x0:g} {y0 + bend:g} {x1:g} {y1 - bend:g} {x1:g} {y1:g}"
    style = 'fill="none" stroke="#52606d" stroke-width="1.5" marker-end="url(#tip)"'
    return f'<path d="{path}" {style}/>'


def _box(room: str, x: float, y: float) -> str:
    corner = f'x="{x - BOX_WIDTH / 2:g}" y="{y - BOX_HEIGHT / 2:g}"'
    size = f'width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"'
    text = f'<text x="{x:g}" y="{y + 5:g}" text-anchor="middle" fill="#102a43">'
    box = f'<rect {corner} {size} fill="#e3edf7" stroke="#486581"/>'
    return f"{box}{text}{CALLED.get(room, room)}</text>"


if __name__ == "__main__":
    DRAWING.write_text(drawing(rules()))
