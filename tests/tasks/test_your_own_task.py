"""docs/your_own_task.md: its file trains, resumes, is evaluated and drawn, on either system."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from vlp_fast.engine.clock import TIMED

PAGE = Path(__file__).parents[2] / "docs/your_own_task.md"
OPTIONS = ["--task.most", 3, "--data.num-workers", 0, "--train.batch-size", 6]
OPTIONS += ["--train.log-every", 2, "--train.checkpoint-every", 3]


def rows(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: x for name, x in row.items() if name not in TIMED}
        for row in found
        if row["kind"] == kind
    ]


@pytest.fixture(params=["soho_tiny", "e2e_vlp_tiny"])
def recipe(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    code, figures = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    code = code.replace("    def draw(", indent(figures, "    ") + "\n    def draw(")
    file = tmp_path / "counting.py"
    file.write_text(code.replace('"soho_tiny"', f'"{request.param}"'))
    return f"{file}:counting"


def test_the_page_is_true(
    call: Callable[..., Any], recipe: str, small_world: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    train = ["train", recipe, "--data.root", small_world, *OPTIONS]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert call(*train, "--run-dir", whole, "--steps", 6).code == 0
    names = {"loss", "counting", "counting_accuracy"}
    assert names <= set(rows(whole, "train")[0])
    assert [row["step"] for row in rows(whole, "train")] == [2, 3, 4, 6]
    assert (whole / "report.png").stat().st_size > 10_000

    shutil.copytree(whole, parts)
    shutil.rmtree(parts / "checkpoint-00000006")
    assert call(*train, "--run-dir", parts, "--steps", 6).code == 0  # goes on from step 3
    assert rows(parts, "train") == rows(whole, "train")
    weights = "checkpoint-00000006/model.safetensors"
    assert (parts / weights).read_bytes() == (whole / weights).read_bytes()

    answer = call("evaluate", whole, "--recipe-file", recipe.partition(":")[0])
    assert answer.code == 0, answer.err
    figures = dict(re.findall(r"^(\w+) +([\d.]+)$", answer.out, re.MULTILINE))
    held_out = rows(whole, "held_out")[-1]
    assert 0 <= held_out["mean_error"] <= 3
    names.add("mean_error")
    assert {n: float(figures[n]) for n in names} == pytest.approx(
        {n: held_out[n] for n in names}, abs=1e-4
    )


def test_its_options_are_refused_like_others(call: Callable[..., Any], recipe: str) -> None:
    answer = call("train", recipe, "--task.fewest", "1")
    answer.assert_refused("--task.fewest")
    answer = call("train", recipe, "--task.most", "many")
    answer.assert_refused("--task.most")


@pytest.mark.parametrize(
    ("text", "reference", "named"),
    [
        ("def run(): return 1", "a.py:run", "run() returns int, expected a RunConfig"),
        ("def run(): pass", "a.py:walk", "has no function 'walk'; it has run"),
        ("x = 1", "a.py:walk", "it has none"),
        ("\nimport nothing_here", "a.py:run", "a.py, line 2: ModuleNotFoundError"),
        ("def run():\n    return 1 / 0", "a.py:run", "a.py, line 2: ZeroDivisionError"),
        ("def run() return", "a.py:run", "SyntaxError"),
        ("", "b.py:run", "no such file"),
        ("", "a.py", "expected a file and a function in it, as in a.py:NAME"),
    ],
)
def test_files_that_hold_no_recipe(
    call: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    reference: str,
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text(text)
    call("train", reference, "--data.root", "world").assert_refused(named)


def test_a_run_is_evaluated_from_its_file_and_not_without_it(
    call: Callable[..., Any], recipe: str, small_world: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train = ["train", recipe, "--data.root", small_world, *OPTIONS, "--run-dir", run]
    assert call(*train, "--steps", 1, "--train.no-picture").code == 0
    file = Path(recipe.partition(":")[0])
    moved = file.rename(file.with_name("moved.py"))
    answer = call("evaluate", run, "--split", "test", "--recipe-file", file)
    answer.assert_refused("counting.py: no such file")
    assert call("evaluate", run, "--split", "test", "--recipe-file", moved).code == 0
