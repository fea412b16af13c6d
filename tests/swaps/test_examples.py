"""The programs of examples/ run, learn, and are short."""

import importlib
import math
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
STEPS = {"detr_on_the_world": 4, "rt_detr_on_the_world": 8, "vq_vae_on_the_world": 12}


@pytest.mark.parametrize("name", STEPS)
def test_it_runs_on_ours_and_learns(
    name: str,
    small_world: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    program = importlib.import_module(name)
    losses = program.main(["--steps", str(STEPS[name]), "--world", str(small_world)])
    assert len(losses) == STEPS[name] and all(map(math.isfinite, losses))
    assert sum(losses[-2:]) < sum(losses[:2])
    assert "modules run on vlp_fast" in capsys.readouterr().out


def test_all_are_run_and_short() -> None:
    found = {path.stem: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    assert found.keys() == STEPS.keys() and max(found.values()) <= 60
