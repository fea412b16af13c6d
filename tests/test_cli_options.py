"""Options that cannot be are one line that names them; a command that is stopped says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.errors import InputError

Call = Callable[..., Any]  # the fixture of conftest.py


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--model.widht", "64"), ("--model.widht, 64", "perhaps you meant --model.width;")),
        (("--train.batch-size", "many"), ("--train.batch-size", "'many'")),
        (("--train.batch-size",), ("--train.batch-size", "Missing")),
        (("--train.precision", "fp8"), ("--train.precision", "'fp8'", "bf16")),
        (("--model.width", "130"), ("received --model.width = 130", "rows and of columns")),
        (("--model.backbone.depth", "19"), ("received --model.backbone.depth = 19", "152")),
        (("--optim.lr", "nan"), ("received --optim.lr = nan, expected a positive number",)),
        (("--train.batch-size", "0"), ("received --train.batch-size = 0, expected 1 or more",)),
        (("--steps", "0"), ("received --steps = 0",)),
        (("--model.num-heads", "3"), ("width 128 and 3 heads",)),
        (("--name", "mine"), ("--name",)),
        (("--model.vocab-size", "9"), ("--model.vocab-size",)),
        (("stray",), ("stray",)),
    ],
)
def test_a_setting_that_cannot_be(
    call: Call, small_world: Path, tmp_path: Path, words: tuple[str, ...], named: tuple[str, ...]
) -> None:
    folder = tmp_path / "run"
    answer = call("train", "soho_tiny", "--data.root", small_world, "--run-dir", folder, *words)
    answer.assert_refused(*named, "; `vlp-fast train soho_tiny --help` lists every setting")
    assert not any(character in answer.err for character in "│─╭\x1b")
    assert not folder.exists()


@pytest.mark.parametrize("is_drawn", [True, False])
@pytest.mark.parametrize("is_coloured", [True, False])
def test_every_kind_of_box_becomes_one_line(
    call: Call, monkeypatch: pytest.MonkeyPatch, is_drawn: bool, is_coloured: bool
) -> None:
    monkeypatch.setattr("tyro._fmtlib._should_use_utf8_drawing_chars", lambda: is_drawn)
    monkeypatch.setattr("tyro._fmtlib._FORCE_ANSI", is_coloured)
    tail = "; `vlp-fast train soho_tiny --help` lists every setting\n"
    for words, said in (
        (("--model.widht", "64"), "Unrecognized options: --model.widht, 64; perhaps you meant "),
        (("--optim.lr", "nan"), f"received --optim.lr = nan, expected a positive number{tail}"),
        (("--train.log-every", "x"), "--train.log-every: invalid literal for int()"),
    ):
        answer = call("train", "soho_tiny", *words)
        answer.assert_refused()
        assert answer.err.startswith(f"vlp-fast: {said}")
        assert answer.err.endswith(tail)
        assert answer.err[:-1].isprintable()


def test_the_recipe_comes_first(call: Call, tmp_path: Path) -> None:
    call("train", "--data.root", tmp_path, "soho_tiny").assert_refused("RECIPE comes first")


def test_what_the_data_decides_is_no_option(call: Call) -> None:
    out = call("train", "e2e_vlp_tiny", "--help").out
    assert "--model.num-queries" in out
    for option in ("--name", "--model.vocab-size", "--model.num-classes", "--model.num-attributes"):
        assert option + " " not in out


def test_options_of_make_world(call: Call, tmp_path: Path) -> None:
    answer = call("data", "make-world", tmp_path / "w", "--imags", 4)
    answer.assert_refused("--imags", "perhaps you meant --images;", "make-world --help")
    call("data", "make-world").assert_refused("OUT is missing", "make-world --help")
    assert call("data", "make-world", "--help").code == 0


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("train", "the same command goes on from the newest checkpoint, if one was written"),
        ("evaluate", "vlp-fast: stopped\n"),
    ],
)
def test_ctrl_c(call: Call, monkeypatch: pytest.MonkeyPatch, command: str, said: str) -> None:
    def interrupted(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"vlp_fast.cli.{command}.run", interrupted)
    answer = call(command)
    assert answer.code == 130
    assert answer.err.endswith(f"{said}" if said.endswith("\n") else f"{said}\n")


def test_the_help_of_train_names_what_fine_tuning_needs(call: Call) -> None:
    out = call("train", "--help").out
    for said in ("[--init WEIGHTS ...]", "RECIPE --help` lists every setting", "vqa_soho_r101_12"):
        assert said in out
    assert max(map(len, out.splitlines())) <= 100


def test_submit_says_what_it_needs_and_what_it_does_not_take(call: Call, tmp_path: Path) -> None:
    out = " ".join(call("submit", "--help").out.replace("│", " ").split())
    for said in (
        "--out FILE The file to write. (required)",
        "test if not given",
        "handed in whole",
    ):
        assert said in out
    call("submit", tmp_path).assert_refused("--out is missing; ")
    call("submit", "--out", tmp_path / "a").assert_refused("RUN_DIR is missing; ")
    call("submit", tmp_path, "--out", tmp_path / "a", "--images", 3).assert_refused("in whole")


def test_a_run_of_captioning_is_measured_with_another_search() -> None:
    from vlp_fast.cli.evaluate import Evaluation, TaskMeasures
    from vlp_fast.recipes import recipe

    asked = Evaluation(run_dir=Path("run"), task=TaskMeasures(beams=2, alpha=0.0))
    task = asked.of(recipe("captioning_e2e_vlp_tiny")).task
    assert (task.beams, task.alpha) == (2, 0.0)
    with pytest.raises(InputError, match="no run of captioning"):
        asked.of(recipe("vqa_soho_tiny"))
    with pytest.raises(ValueError, match="beams"):
        TaskMeasures(beams=0)
