"""docs/architecture.md: the drawing and the table are what the rules of imports say."""

import ast
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pages import PAGES, ROOT
from test_architecture import MAY_IMPORT

sys.path.insert(0, str(ROOT / "docs"))
from building import rooms

SVG = "{http://www.w3.org/2000/svg}"
RULES = rooms.rules()


def test_the_drawing_is_of_the_rules() -> None:
    assert set(RULES) <= set(MAY_IMPORT)
    folders = {path.parent.name for path in ROOT.glob("vlp_fast/*/__init__.py")}
    assert set(RULES) == folders | {"kernels", "benchmarks", "native"}
    for room, below in RULES.items():
        assert below == MAY_IMPORT[room] & set(RULES)
    told = "python docs/building/rooms.py draws it anew"
    assert rooms.DRAWING.read_text() == rooms.drawing(RULES), told


def test_arrows_lead_down_and_say_everything_that_may_be_imported() -> None:
    centres = rooms.places(RULES)
    pairs = rooms.arrows(RULES)
    assert all(centres[room][1] < centres[below][1] for room, below in pairs)
    drawn = {room: {below for start, below in pairs if start == room} for room in RULES}
    for room, below in RULES.items():
        assert below <= rooms.reachable(room, drawn)
    root = ElementTree.fromstring(rooms.drawing(RULES))
    assert len(root.findall(f"{SVG}text")) == len(RULES)
    assert len(root.findall(f"{SVG}path")) == len(pairs)


@pytest.mark.parametrize("more", [{}, {"demo": {"inference"}, "other": {"inference"}}])
def test_boxes_do_not_overlap(more: dict[str, set[str]]) -> None:
    centres = list(rooms.places({**RULES, **more}).values())
    for at, (x, y) in enumerate(centres):
        assert all(abs(x - a) >= rooms.BOX_WIDTH or y != b for a, b in centres[:at])


def test_the_table_is_of_the_rules_and_of_the_packages_docstring() -> None:
    package = ast.get_docstring(ast.parse((ROOT / "vlp_fast/__init__.py").read_text())) or ""
    said = dict(re.findall(r"^ +([\w.]+?)(?:/|\.py) +(.+)$", package, re.M))
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.*)\|$", PAGES["architecture.md"], re.M)
    assert {room for room, _, _ in rows} == set(RULES)
    heights = [rooms.level(room, RULES) for room, _, _ in rows]
    assert heights == sorted(heights, reverse=True)
    for room, what, shut in rows:
        assert what == said[room]
        assert set(re.findall(r"`(\w+)`", shut)) == rooms.reachable(room, RULES) - RULES[room]


def test_the_files_of_the_walk_exist() -> None:
    named = re.findall(r"`([\w/]+(?:/|\.\w+))`", PAGES["architecture.md"])
    paths = [name for name in named if "/" in name]
    assert len(paths) > 12
    assert all((ROOT / name).exists() for name in paths), paths


def test_rules_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rules.py"
    file.write_text(
        'MODEL_ROOMS = {"ops"}\nMAY_IMPORT: dict = {"ops": set(), "layers": MODEL_ROOMS}\n'
    )
    assert rooms.rules(file) == {"ops": set(), "layers": {"ops"}}
