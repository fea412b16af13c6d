"""What a run folder holds, and the way back from it to the model."""

import json
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from vlp_fast import __version__
from vlp_fast.data.tokenizer import Tokenizer, load_vocabulary
from vlp_fast.engine import run_folder as module
from vlp_fast.engine.checkpoint import complete_checkpoints
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.evaluator import evaluate
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.recorded_run import restore_run
from vlp_fast.engine.restore import restore_experiment
from vlp_fast.engine.run_folder import open_run_folder
from vlp_fast.engine.trainer import train
from vlp_fast.errors import InputError
from vlp_fast.recipes import recipe
from vlp_fast.whole_file import write_json

Make = Callable[..., RunConfig]
WORDS = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "circle"])


def test_the_folder_tells_who_ran_what(finished: RunConfig) -> None:
    folder = finished.directory
    names = {path.name for path in folder.iterdir()} - {
        "report.png"
    }  # of another test's evaluation
    assert names == {"run.json", "vocab.txt", "metrics.jsonl", "checkpoint-00000004"}
    described = json.loads((folder / "run.json").read_text())
    assert described["vlp_fast"] == __version__
    assert described["python"] == platform.python_version()
    assert described["packages"]["torch"] == version("torch")
    assert described.keys() >= {"commit", "uncommitted_changes", "gpu"}
    config = described["config"]
    assert (config["name"], config["steps"]) == (finished.name, 4)
    assert config["model"]["vocab_size"] == load_vocabulary(folder / "vocab.txt").vocab_size
    assert config["data"]["root"] == [str(root) for root in finished.data.root]


def test_metrics_have_every_loss_of_every_step(finished: RunConfig) -> None:
    rows = read_journal(finished.directory / "metrics.jsonl")
    training = [row for row in rows if row["kind"] == "train"]
    assert [row["step"] for row in training] == [1, 2, 3, 4]
    names = {"mlm", "itm"} | (
        {"mvm"} if finished.name == "soho_tiny" else {"detection", "captioning"}
    )
    last = training[-1]
    assert last.keys() >= names | {"loss", "gradient_norm", "lr", "images_per_second"}
    assert last["loss"] == pytest.approx(sum(last[name] for name in names), rel=1e-6)
    held_out = [row for row in rows if row["kind"] == "held_out"]
    assert [row["step"] for row in held_out] == [4]
    figures = {"mlm_accuracy", "itm_accuracy"} | (
        {"mvm_accuracy", "perplexity", "used_codes"}
        if finished.name == "soho_tiny"
        else {"ap", "ap50", "matched_attribute_accuracy"}
    )
    assert held_out[0].keys() >= names | figures


def test_the_run_is_restored_with_its_model(finished: RunConfig) -> None:
    run = restore_run(finished.directory)
    assert type(run) is type(finished)
    sizes = json.loads((finished.directory / "run.json").read_text())["config"]["model"]
    assert run.model.vocab_size == sizes["vocab_size"]
    assert replace(run, model=finished.model) == finished
    figures = evaluate(restore_experiment(run))
    journal = read_journal(finished.directory / "metrics.jsonl")[-1]
    assert journal["kind"] == "held_out"
    assert {name: journal[name] for name in figures} == figures


def test_a_run_without_a_checkpoint_cannot_be_restored(micro: Make, tmp_path: Path) -> None:
    run = micro("soho_tiny", tmp_path / "run")
    open_run_folder(run, WORDS)
    with pytest.raises(InputError, match="no complete checkpoint; train first"):
        restore_experiment(restore_run(run.directory))


def test_a_folder_that_is_a_file_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    run = replace(recipe("soho_tiny"), run_dir=tmp_path / "run")
    with pytest.raises(InputError, match="cannot be written"):
        open_run_folder(run, WORDS)
    assert (tmp_path / "run").read_text() == "mine"


def test_a_folder_that_may_not_be_written_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)  # root may write anywhere
    run = replace(recipe("soho_tiny"), run_dir=tmp_path / "run")
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\).*--run-dir"):
        open_run_folder(run, WORDS)


def test_the_default_folder_is_named_after_the_recipe() -> None:
    run: RunConfig = recipe("soho_r18_3")
    assert run.directory == Path("runs/soho_r18_3")
    assert complete_checkpoints(Path("runs/absent")) == []


def test_a_kill_while_the_vocabulary_is_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = replace(recipe("soho_tiny"), run_dir=tmp_path)
    open_run_folder(run, WORDS)
    before = (tmp_path / "vocab.txt").read_text()

    def half(self: Tokenizer, path: Path) -> None:
        path.write_text("[PAD]")
        raise KeyboardInterrupt

    monkeypatch.setattr(Tokenizer, "save", half)
    with pytest.raises(KeyboardInterrupt):
        open_run_folder(run, WORDS)
    assert (tmp_path / "vocab.txt").read_text() == before


def test_the_vocabulary_is_kept_with_its_checkpoints_only(
    micro: Make, finished: RunConfig, tmp_path: Path
) -> None:
    """What a run left behind that never reached a checkpoint may be of other data."""
    left = micro("soho_tiny", tmp_path)
    WORDS.save(tmp_path / "vocab.txt")
    assert build_experiment(left).task.tokenizer.vocab_size > 50
    going_on = replace(finished, data=replace(finished.data, vocabulary_size=60))
    kept = load_vocabulary(finished.directory / "vocab.txt")
    assert build_experiment(going_on).task.tokenizer.vocabulary == kept.vocabulary


def other_vocabulary(run: RunConfig, path: Path) -> Path:
    """As long as the run's, with two tokens exchanged: no size tells."""
    tokens = list(load_vocabulary(run.directory / "vocab.txt").vocabulary)
    tokens[-2:] = tokens[:-3:-1]
    Tokenizer(tokens).save(path)
    return path


def with_vocabulary(run: RunConfig, path: Path) -> RunConfig:
    return replace(run, data=replace(run.data, vocabulary=path))


def test_a_run_goes_on_with_the_vocabulary_that_it_began_with(
    finished: RunConfig, tmp_path: Path
) -> None:
    before = (finished.directory / "run.json").read_bytes()
    other = with_vocabulary(finished, other_vocabulary(finished, tmp_path / "other.txt"))
    with pytest.raises(
        InputError, match=r"vocab\.txt: the run's vocabulary is another.*other\.txt"
    ):
        train(other)
    assert (finished.directory / "run.json").read_bytes() == before
    same = shutil.copy(finished.directory / "vocab.txt", tmp_path / "same.txt")
    kept = load_vocabulary(same)
    assert (
        build_experiment(with_vocabulary(finished, same)).task.tokenizer.vocabulary
        == kept.vocabulary
    )


def test_a_model_is_restored_with_the_vocabulary_that_it_began_with(
    finished: RunConfig, tmp_path: Path
) -> None:
    """Whatever has become since of the file it was from, and whatever `resume` was."""
    kept = load_vocabulary(finished.directory / "vocab.txt").vocabulary
    for path in (other_vocabulary(finished, tmp_path / "other.txt"), tmp_path / "gone.txt"):
        run = with_vocabulary(finished, path)
        assert restore_experiment(run).task.tokenizer.vocabulary == kept
        assert restore_experiment(replace(run, resume="never")).task.tokenizer.vocabulary == kept


@pytest.mark.parametrize("kind", ["classes", "attributes"])
def test_other_names_of_classes_are_refused(finished: RunConfig, tmp_path: Path, kind: str) -> None:
    folder = shutil.copytree(finished.directory, tmp_path / "run")
    run = replace(finished, run_dir=folder)
    path = folder / "checkpoint-00000004/state.json"
    state = json.loads(path.read_text())
    first, second, *others = state[kind]
    path.write_text(json.dumps(state | {kind: [second, first, *others]}))
    said = rf"checkpoint-00000004: learnt other {kind} than .*: '{second}' is '{first}' now"
    for go_on in (train, restore_experiment):
        with pytest.raises(InputError, match=said):
            go_on(run)
    path.write_text(json.dumps(state | {kind: None}))
    with pytest.raises(InputError, match=f"None is '{first}' now"):
        train(run)


def test_passed_over_checkpoints_are_told_when_a_model_is_restored(
    finished: RunConfig, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished.directory, tmp_path / "run")
    shutil.copytree(folder / "checkpoint-00000004", folder / "checkpoint-00000009")
    said: list[str] = []
    restore_experiment(replace(finished, run_dir=folder), said.append)
    assert said == [
        "damaged and passed over: checkpoint-00000009; the run goes on from checkpoint-00000004"
    ]


def test_sections_of_another_kind_are_not_compared(finished: RunConfig, tmp_path: Path) -> None:
    folder = shutil.copytree(finished.directory, tmp_path / "run")
    described = json.loads((folder / "run.json").read_text())
    described["config"] |= {"data": None, "optim": [], "train": "lr"}
    write_json(folder / "run.json", described)
    module.check_same_run(replace(finished, run_dir=folder), print)


def test_paths_are_kept_so_that_they_hold_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = recipe("soho_tiny")
    names = ("exclude", "vocabulary", "objects_vocabulary", "attributes_vocabulary")
    given = {name: Path(f"a/{name}") for name in names}
    run = replace(
        run,
        run_dir=Path("run"),
        data=replace(run.data, root=(Path("a"), Path("b")), **given),
        init=(Path("w.pth"),),
    )
    open_run_folder(run, WORDS)
    monkeypatch.chdir("/")
    kept = restore_run(tmp_path / "run")
    assert {name: getattr(kept.data, name) for name in names} == {
        name: tmp_path / path for name, path in given.items()
    }
    assert kept.data.root == (tmp_path / "a", tmp_path / "b")
    assert kept.init == (tmp_path / "w.pth",)


def test_settings_that_cannot_be_read_are_not_taken_for_the_same(
    finished: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_text

    def refused(self: Path, *words: object, **options: object) -> str:
        if self.name == "run.json":
            raise PermissionError(13, "Permission denied", str(self))
        return read(self)

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(InputError, match=r"run\.json: Permission denied, and the run's settings"):
        module.check_same_run(finished, print)


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True)


def test_the_commit_is_of_the_packages_own_checkout_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    git(tmp_path, "init")
    for package in (tmp_path / "vlp_fast", tmp_path / ".venv/site-packages/vlp_fast"):
        package.mkdir(parents=True)
        (package / "a.py").write_text("")
    git(tmp_path, "add", "vlp_fast")
    git(tmp_path, "commit", "-m", "a")
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "vlp_fast")
    own = module._checkout()
    assert len(str(own["commit"])) == 40
    assert own["uncommitted_changes"] is False
    monkeypatch.setattr(module, "PACKAGE", tmp_path / ".venv/site-packages/vlp_fast")
    assert module._checkout() == {"commit": None, "uncommitted_changes": None}
