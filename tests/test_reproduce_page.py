"""docs/reproduce.md: hours are what the formula makes of the recipes and of counted operations."""

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import pytest
from pages import PAGES, ROOT, section

from vlp_fast.recipes import RECIPES

PAGE = section(PAGES["reproduce.md"], "GPU-hours, by arithmetic")
ROWS = re.findall(r"^\| `(\w+)` \| .*$", PAGE, re.M)


@pytest.fixture(scope="module")
def gpu_hours() -> ModuleType:
    """The program that makes the tables."""
    spec = spec_from_file_location("gpu_hours", ROOT / "experiments/gpu_hours.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def row(start: str) -> str:
    (found,) = re.findall(rf"^\| `{start} .*$", PAGE, re.M)
    return found


def test_operations_are_counted(gpu_hours: ModuleType) -> None:
    """Of the smallest model anew; the others are what the program printed."""
    name = "soho_r18_3"
    assert gpu_hours.count_row(name, gpu_hours.counts_of(name)) == row(rf"{name}` \| 600x800")


def test_hours_follow_from_the_formula(gpu_hours: ModuleType) -> None:
    for name, run in gpu_hours.RUNS.items():
        model = re.sub(r"^(?!soho|e2e)[a-z]+2?_", "", name)
        numbers = [
            float(cell.strip() or 0) * 1e9 for cell in row(rf"{model}` \| \d+x\d+").split("|")[3:7]
        ]
        parts = ("picture", "pair", "detect", "caption")
        counts = gpu_hours.Counts(**dict(zip(parts, numbers, strict=True)))
        found, made = row(rf"{name}` \| [\d,]+ \|"), gpu_hours.hours_row(name, run, counts)
        for cell, again in zip(found.split("|")[2:-1], made.split("|")[2:-1], strict=True):
            # Operations of the page have one digit behind the point.
            assert number(cell) == pytest.approx(number(again), rel=0.03), (name, cell, again)
    assert set(ROWS) == {*gpu_hours.RUNS}


def number(cell: str) -> float:
    return float(cell.replace(",", ""))


def test_the_formula_by_hand(gpu_hours: ModuleType) -> None:
    counts = gpu_hours.Counts(picture=10**12, pair=2 * 10**12, detect=10**12)
    run = gpu_hours.Run(samples=150, pictures=2, pairs=3, detections=1)
    assert run.operations(counts) == 9 * 10**12
    # soho_r101_12 has 40 epochs of 1,024 pictures a step: 3 x 150 x 40 x 9e12 = 0.162e18.
    made = gpu_hours.hours_row("soho_r101_12", run, counts)
    assert made == "| `soho_r101_12` | 150 | 40 | 6 | 0.162 | 1.2 | 0.15 |"


def test_every_recipe_that_a_table_needs_is_named() -> None:
    named = set(re.findall(r"\b((?:\w+_)?(?:soho|e2e_vlp)_r\d+_\d+)\b", PAGES["reproduce.md"]))
    assert named <= set(RECIPES)
    assert {name for name in RECIPES if name.startswith("e2e_vlp_r")} <= named
    tasks = {name.partition("_r1")[0] for name in named}
    assert tasks >= {f"{task}_soho" for task in ("vqa", "nlvr2", "ve", "retrieval")}
