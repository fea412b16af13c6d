"""Downstream from the command line: pre-train, fine-tune from it, evaluate, hand in; bad input."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.engine.recorded_run import BASES

Call = Callable[..., Any]
QUICK = ["--data.num-workers", 0, "--train.batch-size", 4, "--train.log-every", 1]
QUICK += ["--train.no-picture", "--train.held-out-images", 8]
QUICK += ["--data.shorter", 48, "--data.shorter-held-out", 48, "--data.longer", 80]


@pytest.fixture(scope="module", params=["soho", "e2e_vlp"])
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pretrained(system: str, small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vlp_fast.cli import main

    folder = tmp_path_factory.mktemp("pretrained") / system
    words = ["train", f"{system}_tiny", "--data.root", small_world, "--steps", 2, *QUICK]
    extra = ["--task.tagging-steps", 0, "--run-dir", folder, "--task.codebook-samples", 300]
    extra = extra if system == "soho" else extra[:-2]
    assert main([str(word) for word in (*words, *extra)]) == 0
    return folder


def last(folder: Path, kind: str) -> dict[str, Any]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == kind][-1]


def number_of_parameters(folder: Path, begin: str) -> int:
    """Of the tensors in the newest checkpoint whose names begin so."""
    from safetensors import safe_open

    with safe_open(max(folder.glob("checkpoint-*")) / "model.safetensors", "pt") as file:
        names = [name for name in file.keys() if name.startswith(begin)]  # noqa: SIM118
        return sum(file.get_tensor(name).numel() for name in names)


def words_of(task: str, system: str, world: Path, folder: Path) -> list[Any]:
    root = world / "nlvr2" if task == "nlvr2" else world
    return ["train", f"{task}_{system}_tiny", "--data.root", root, "--run-dir", folder, *QUICK]


TASKS = [
    ("vqa", "vqa_yes_no", "test"),
    ("nlvr2", "consistency", "test"),
    ("ve", "accuracy", "test"),
]
OTHERS = TASKS[1:]  # which do the same with either system, as the tests of tasks show


@pytest.mark.parametrize(
    ("system", "task", "figure", "split"),
    [
        *(("soho", *task) for task in TASKS),
        ("e2e_vlp", *TASKS[0]),
        *(pytest.param("e2e_vlp", *task, marks=pytest.mark.exhaustive) for task in OTHERS),
    ],
    indirect=["system"],
)
def test_from_pre_training_to_a_file_of_answers(
    call: Call, system: str, pretrained: Path, small_world: Path, tmp_path: Path,
    task: str, figure: str, split: str,
) -> None:  # fmt: skip
    run = tmp_path / "run"
    train = words_of(task, system, small_world, run)
    answer = call(*train, "--init", pretrained, "--steps", 2)
    assert answer.code == 0, answer.err
    assert "is our own" in answer.out
    assert "0 new here" in answer.out or "the classes are others" in answer.out
    (line,) = [line for line in answer.out.splitlines() if "new and random at first: " in line]
    head = {"vqa": "answering", "nlvr2": "reasoning", "ve": "entailment"}[task]
    size = number_of_parameters(run, "heads.")
    assert line.endswith(f"the head of {head} ({size:,} parameters)")
    row = last(run, "held_out")
    assert figure in row
    assert ", 8 examples, set " in row["of"]
    answer = call(*train, "--init", pretrained, "--steps", 3)
    assert answer.code == 0  # goes on
    assert "init:" not in answer.out
    assert last(run, "train")["step"] == 3

    answer = call("evaluate", run, "--images", 12, "--split", "train")
    assert answer.code == 0, answer.err
    assert "the run was trained on train" in answer.out
    assert "train, 12 examples, set " in answer.out

    file = tmp_path / "answers"
    answer = call("submit", run, "--split", split, "--out", file)
    assert answer.code == 0, answer.err
    assert file.stat().st_size > 100
    file.unlink()
    other = call(*train, "--init", pretrained / "vocab.txt", "--steps", 3)
    assert other.code == 0
    assert f"vocab.txt is not read: {run} goes on with a run that began from {pretrained}" in (
        other.out
    )
    answer = call("submit", run, "--split", "train", "--out", file)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "train" in answer.err
    assert not file.exists()


def test_first_weights_of_another_system_or_size_are_refused(
    call: Call, system: str, pretrained: Path, small_world: Path, tmp_path: Path
) -> None:
    other = {"soho": "e2e_vlp", "e2e_vlp": "soho"}[system]
    run = tmp_path / "run"
    call(
        *words_of("ve", other, small_world, run), "--init", pretrained, "--steps", 1
    ).assert_refused(pretrained)
    call(
        *words_of("ve", system, small_world, run), "--init", pretrained, "--steps", 1,
        "--model.ffn-dim", 128,
    ).assert_refused("linear1")  # fmt: skip
    call(
        *words_of("ve", system, small_world, run), "--init", tmp_path / "absent.pth"
    ).assert_refused("absent.pth", "--init")
    text = tmp_path / "notes.pth"
    text.write_text("not weights")
    call(*words_of("ve", system, small_world, run), "--init", text).assert_refused(
        text, "it is text that begins with", "torch.save"
    )
    assert not any(run.glob("*"))


def without(name: str, world: Path) -> None:
    (world / name).unlink()


def changed(name: str, old: str, new: str, world: Path) -> None:
    path = world / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def cut(name: str, world: Path) -> None:
    path = world / name
    path.write_bytes(path.read_bytes().rstrip()[:-9])


MAP = "vqa_trainval_label2ans.json"
VQA, NLVR2, VE = "v2_mscoco_train2014_annotations.json", "nlvr2/train.json", "snli_ve_train.jsonl"
HURT: list[tuple[str, Callable[[Path], None], tuple[str, ...]]] = [
    ("vqa", lambda w: without(VQA, w), (VQA,)),
    ("vqa", lambda w: without("vqa_trainval_label2ans.json", w), ("answer map", "--task.answers")),
    ("vqa", lambda w: changed(VQA, '"answers": [{', '"answers": ["no", {', w), (VQA,)),
    (
        "nlvr2",
        lambda w: changed(NLVR2, '"label": "True"', '"label": "Perhaps"', w),
        ("Perhaps", "line"),
    ),
    ("nlvr2", lambda w: without(NLVR2, w), ("train.json",)),
    (
        "ve",
        lambda w: changed(VE, '"gold_label": "neutral"', '"gold_label": "maybe"', w),
        ("maybe", "line"),
    ),
    ("ve", lambda w: without(VE, w), ("snli_ve",)),
    ("ve", lambda w: cut(VE, w), (VE, "ends early (truncated)")),
    ("nlvr2", lambda w: cut(NLVR2, w), ("train.json, line", "ends early (truncated)")),
    (
        "nlvr2",
        lambda w: changed(NLVR2, '"label": "True"', '"label": "true"', w),
        ('"true"', 'expected "True" or "False"'),
    ),
    ("vqa", lambda w: (w / MAP).write_text("[" * 10**6), (MAP, "nested too deeply")),
    ("vqa", lambda w: (w / MAP).write_text('[["yes"]]'), (MAP, "expected answers, which are text")),
]


@pytest.mark.parametrize(("task", "hurt", "named"), HURT)
def test_damaged_data_are_one_line(
    call: Call, small_world: Path, tmp_path: Path,
    task: str, hurt: Callable[[Path], None], named: tuple[str, ...],
) -> None:  # fmt: skip
    world = shutil.copytree(small_world, tmp_path / "world", symlinks=True)
    hurt(world)
    run = tmp_path / "run"
    call(*words_of(task, "soho", world, run), "--steps", 1).assert_refused(*named)
    assert not run.exists() or not any(run.glob("*.json"))


def test_a_split_that_was_trained_on_is_flagged_by_any_name(
    call: Call, small_world: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    splits = ["--data.train-split", "dev", "--data.held-out-split", "test"]
    assert call(*words_of("ve", "soho", small_world, run), *splits, "--steps", 1).code == 0
    for split, flag in (("val", "note: split val: the run was trained on dev"), ("test", "")):
        answer = call("evaluate", run, "--split", split, "--images", 4)
        assert answer.code == 0
        assert flag in answer.out
        assert ("trained on" in answer.out) == bool(flag)


def test_splits_that_are_not_there_are_named(call: Call, small_world: Path, tmp_path: Path) -> None:
    for task, named in (("vqa", "train+val"), ("nlvr2", "test1"), ("ve", "dev")):
        train = words_of(task, "soho", small_world, tmp_path / task)
        call(*train, "--data.train-split", "most").assert_refused("'most'", named)


def test_a_run_keeps_the_order_of_its_answers(
    call: Call, small_world: Path, tmp_path: Path
) -> None:
    """The same answers in another order, or elsewhere: the outputs would mean something else."""
    run, answers = tmp_path / "run", tmp_path / "answers.json"
    names = json.loads((small_world / "vqa_trainval_label2ans.json").read_text())
    answers.write_text(json.dumps(names))
    train = [*words_of("vqa", "soho", small_world, run), "--task.answers", answers]
    assert call(*train, "--steps", 1).code == 0
    moved = answers.rename(tmp_path / "moved.json")
    assert call(*train[:-1], moved, "--steps", 2).code == 0
    moved.write_text(json.dumps(names[::-1]))
    file = tmp_path / "file.json"
    before = (run / "run.json").read_bytes()
    for words in (
        [*train[:-1], moved, "--steps", 3],
        ["evaluate", run],
        ["submit", run, "--out", file],
    ):
        call(*words).assert_refused(f"learnt other answers than {moved} has", names[0])
    assert not file.exists()
    assert (run / "run.json").read_bytes() == before


def test_where_answers_cannot_be_written_is_told_before_they_are_made(
    call: Call, small_world: Path, tmp_path: Path
) -> None:
    absent, there = tmp_path / "absent/answers.json", tmp_path / "answers.json"
    for words in (["submit", tmp_path, "--out"], ["data", "make-answers", tmp_path]):
        call(*words, absent).assert_refused(f"{absent.parent}: no such folder")
        call(*words, tmp_path).assert_refused(f"{tmp_path}: is a folder")
    make = ["data", "make-answers", small_world, there, "--fewest"]
    call(*make, 0).assert_refused("--fewest")
    assert call(*make, 1).code == 0
    before = there.read_bytes()
    call(*make, 2).assert_refused(f"{there}: is there already", "OUT")
    assert there.read_bytes() == before


def test_a_split_without_public_answers_has_no_figures(
    call: Call, small_world: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert call(*words_of("vqa", "soho", small_world, run), "--steps", 1).code == 0
    answer = call("evaluate", run, "--split", "test", "--images", 8)
    assert answer.code == 0
    assert "note: held out: the files do not say the right answers of VQA test" in answer.out
    assert "of VQA test, 8 examples" in answer.out
    assert "loss" not in answer.out
    assert "accuracy" not in answer.out


def test_a_split_with_missing_pictures_is_measured_without_them_if_asked(
    call: Call, small_world: Path, tmp_path: Path
) -> None:
    world = shutil.copytree(small_world, tmp_path / "world", symlinks=True)
    run = tmp_path / "run"
    assert call(*words_of("vqa", "soho", world, run), "--steps", 1).code == 0
    questions = json.loads((world / "v2_OpenEnded_mscoco_test2015_questions.json").read_text())
    lost = questions["questions"][0]["image_id"]
    (world / f"images/{lost:012d}.png").unlink()
    left = sum(question["image_id"] != lost for question in questions["questions"])
    test = ["evaluate", run, "--split", "test", "--images", 10**6]
    call(*test).assert_refused("1 of", "leave them out with --data.missing-images drop")
    answer = call(*test, "--data.missing-images", "drop")
    assert answer.code == 0, answer.err
    assert f"of VQA test, {left} examples" in answer.out
    file = tmp_path / "answers.json"
    answer = call("submit", run, "--out", file, "--data.missing-images", "drop")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "are left out" in answer.err
    assert not file.exists()


@pytest.mark.parametrize("place", ["stranger/mine.py", "/proc/self/cwd/stranger/mine.py"])
def test_code_that_comes_with_a_run_folder_is_not_run(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "stranger"
    folder.mkdir()
    (folder / "mine.py").write_text("open('ran', 'w')\n")
    recorded = {"config": {"name": "x", "file": place}, "kinds": dict.fromkeys(BASES, "own_1.Mine")}
    (folder / "run.json").write_text(json.dumps(recorded))
    call("evaluate", "stranger").assert_refused("mine.py", "is not run")
    assert not (tmp_path / "ran").exists()
