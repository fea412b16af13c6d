"""What is wrong with a call is told before anything is built, answered or imported."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.cli import main

Call = Callable[..., Any]  # the fixture of conftest.py
QUICK = ["--data.num-workers", 0, "--train.batch-size", 4, "--train.no-picture", "--steps", 1]
QUICK += ["--train.held-out-images", 4]
MAP = "vqa_trainval_label2ans.json"


@pytest.fixture(scope="module")
def runs(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of a step of each task, and one of pre-training."""
    place = tmp_path_factory.mktemp("runs")
    made = {name: place / name for name in ("vqa_soho_tiny", "nlvr2_soho_tiny", "ve_soho_tiny")}
    for recipe, folder in made.items():
        root = small_world / "nlvr2" if recipe.startswith("nlvr2") else small_world
        words = ["train", recipe, "--data.root", root, "--run-dir", folder, *QUICK]
        assert main([str(word) for word in words]) == 0
    return {name.partition("_")[0]: folder for name, folder in made.items()}


@pytest.fixture
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def built(*_: object) -> None:
        raise AssertionError("a model is built")

    monkeypatch.setattr("vlp_fast.engine.restore.restore_experiment", built)
    monkeypatch.setattr("vlp_fast.engine.trainer.train", built)


@pytest.mark.usefixtures("nothing_is_built")
@pytest.mark.parametrize(
    ("task", "words", "named"),
    [
        ("vqa", ("--split", "val"), ("no answers to split 'val' of VQA", "predict test")),
        ("vqa", ("--split", "test-dev"), ("test-dev from answers to all questions of test",)),
        ("vqa", ("--split", "most"), ("'most'", "predict test")),
        ("nlvr2", ("--split", "train"), ("no answers to split 'train' of NLVR2", "dev or test1")),
        ("nlvr2", ("--split", "test2"), ("test2.json", "No such file")),
        ("nlvr2", ("--split", "most"), ("no split 'most'", "dev, test1")),
        ("ve", ("--split", "train"), ("'train' of SNLI-VE", "predict dev or test")),
        (
            "vqa",
            ("--task.answers", "/absent.json"),
            ("/absent.json: no such file; --task.answers",),
        ),
        ("ve", ("--task.answers", MAP), ("--task.answers", "ve_soho_tiny is no run of VQA")),
    ],
)
def test_what_cannot_be_handed_in_is_told_before_it_is_answered(
    call: Call, runs: dict[str, Path], tmp_path: Path, task: str, words: Any, named: Any
) -> None:
    out = tmp_path / "answers"
    call("submit", runs[task], "--out", out, *words).assert_refused(*named)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("nothing_is_built")
def test_damaged_questions_are_told_before_they_are_answered(
    call: Call, runs: dict[str, Path], copied_world: Path, tmp_path: Path
) -> None:
    path = copied_world / "v2_OpenEnded_mscoco_test2015_questions.json"
    path.write_bytes(path.read_bytes()[:-20])
    words = ("submit", runs["vqa"], "--out", tmp_path / "a", "--data.root", copied_world)
    call(*words).assert_refused(path.name, "ends early (truncated)")


@pytest.mark.usefixtures("nothing_is_built")
def test_a_run_of_pre_training_hands_in_nothing(
    call: Call, runs: dict[str, Path], tmp_path: Path
) -> None:
    run = shutil.copytree(runs["vqa"], tmp_path / "run")
    from vlp_fast.engine.config import RunConfig
    from vlp_fast.engine.run_folder import _description
    from vlp_fast.recipes import recipe
    from vlp_fast.whole_file import write_json

    config: RunConfig = recipe("soho_tiny")
    described: Any = _description(config)
    described["config"]["data"]["root"] = ["/"]
    write_json(run / "run.json", described)
    call("submit", run, "--out", tmp_path / "a").assert_refused("pre-training", "vqa_*", "--init")


def test_the_place_of_the_answers_can_be_told(
    call: Call, runs: dict[str, Path], copied_world: Path, tmp_path: Path
) -> None:
    """The data have moved, and the map with them, or not."""
    moved = (copied_world / MAP).rename(tmp_path / "moved.json")
    run = runs["vqa"]
    words = (run, "--data.root", copied_world)
    call("evaluate", *words).assert_refused("has no answer map", "--task.answers")
    answer = call("evaluate", *words, "--task.answers", moved)
    assert answer.code == 0, answer.err
    file = tmp_path / "answers.json"
    assert call("submit", *words, "--task.answers", moved, "--out", file).code == 0
    assert json.loads(file.read_text())


@pytest.mark.usefixtures("nothing_is_built")
def test_other_answers_are_told_from_those_that_were_learnt(
    call: Call, runs: dict[str, Path], small_world: Path, tmp_path: Path
) -> None:
    names = json.loads((small_world / MAP).read_text())
    other = tmp_path / "other.json"
    train = ["train", "vqa_soho_tiny", "--data.root", small_world, "--run-dir", runs["vqa"]]
    for answers, said in (
        (names[:-2], f"({len(names)} then, {len(names) - 2} now): {names[-2]!r} is None now"),
        (names[::-1], f"(the same ones in another order): {names[0]!r} is {names[-1]!r} now"),
        ([*names[:-1], "a"], f"({len(names)} then, {len(names)} now): {names[-1]!r} is 'a' now"),
    ):
        other.write_text(json.dumps(answers))
        for words in (["evaluate", runs["vqa"]], [*train, *QUICK]):
            call(*words, "--task.answers", other).assert_refused(
                f"learnt other answers than {other} has {said}; give those that it was trained with"
            )


def test_a_map_of_more_answers_than_anybody_has_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from vlp_fast.data import answers
    from vlp_fast.errors import InputError

    monkeypatch.setattr(answers, "MOST", 3)
    path = tmp_path / "map.json"
    for content in (list("abcd"), {name: place for place, name in enumerate("abcd")}):
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match="holds 4 entries, expected 3 answers at most"):
            answers.read_answer_map(path)
    path.write_text(json.dumps(list("abc")))
    assert len(answers.read_answer_map(path)) == 3


def test_annotation_files_are_read_without_torch(runs: dict[str, Path], tmp_path: Path) -> None:
    """A wrong split costs what it takes to read questions, not what it takes to import torch."""
    words = ["submit", str(runs["vqa"]), "--split", "val", "--out", str(tmp_path / "a")]
    code = (
        "import sys\nfrom vlp_fast.cli import main\n"
        f"code = main({words!r})\nassert 'torch' not in sys.modules\nsys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "predict test" in done.stderr


@pytest.mark.usefixtures("nothing_is_built")
def test_the_folder_of_another_recipe_names_both(
    call: Call, runs: dict[str, Path], small_world: Path
) -> None:
    for recipe in ("soho_tiny", "ve_soho_tiny", "vqa_e2e_vlp_tiny"):
        words = ["train", recipe, "--data.root", small_world, "--run-dir", runs["vqa"], *QUICK]
        call(*words).assert_refused(
            f"{runs['vqa']}: holds a run of recipe vqa_soho_tiny, and asked is {recipe}; give "
            "another --run-dir, or the recipe that it began with"
        )


@pytest.mark.usefixtures("nothing_is_built")
def test_a_begun_folder_is_refused_before_anything_is_built(
    runs: dict[str, Path], small_world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["vqa_soho_tiny", "--data.root", str(small_world), "--run-dir", str(runs["vqa"])]
    assert main(["train", *words, "--resume", "never"]) == 2
    assert "holds checkpoints of an earlier run" in capsys.readouterr().err
