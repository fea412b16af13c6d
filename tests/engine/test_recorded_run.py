"""Files of recipes that a run folder names: they are not run for the folder's sake."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import vlp_fast
from vlp_fast.engine.recorded_run import kind_names, restore_run
from vlp_fast.errors import InputError
from vlp_fast.inference.shipped import shipped_model
from vlp_fast.recipes import recipe
from vlp_fast.tasks.pretraining.config import SohoPretrainingConfig
from vlp_fast.whole_file import write_json

Call = Callable[..., Any]  # the fixture of conftest.py
OWN = '''
from dataclasses import dataclass
from pathlib import Path
from vlp_fast.tasks.pretraining.config import SohoPretrainingConfig

Path(__file__).with_name("ran").touch()


@dataclass(frozen=True, kw_only=True)
class {name}(SohoPretrainingConfig):
    """A task of one's own."""
'''


@pytest.fixture
def own(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file of a task whose name no other test has, and which says that it ran."""
    file = tmp_path / "own.py"
    file.write_text(OWN.format(name=class_name(request.node.name)))
    return file


def class_name(text: str) -> str:
    return "".join(filter(str.isalpha, text.title()))


def folder_of(own: Path, name: str, kind: str = "") -> Path:
    """The shipped SOHO as a run by that file, whose task has its class."""
    folder = own.parent / "run"
    shutil.copytree(shipped_model("soho_small_world"), folder)
    (folder / "config.json").unlink()
    run = recipe("soho_small_world")
    kinds = kind_names(run) | {"task": kind or f"own_123456.{class_name(name)}"}
    write_json(folder / "run.json", {"kinds": kinds, "config": asdict(run) | {"file": str(own)}})
    return folder


def test_no_command_runs_a_file_that_a_folder_names(
    call: Call, own: Path, request: pytest.FixtureRequest, tmp_path: Path, small_drawings: Path
) -> None:
    folder = folder_of(own, request.node.name)
    (folder / "metrics.jsonl").write_text('{"step": 1, "kind": "train", "loss": 1.0}\n')
    picture = next((small_drawings / "images").iterdir())
    for words in (
        ("predict", folder, picture, "--text", "a star"),
        ("export", folder, tmp_path / "model"),
        ("evaluate", folder),
        ("submit", folder, "--out", tmp_path / "x.json"),
        ("retrieve", folder, "--query", "a star", "--images", small_drawings),
        ("viz", folder),
    ):
        answer = call(*words)
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert f"is of {own}, and a file that a folder names is not run" in answer.err
        assert "give it as --recipe-file" in answer.err
    with pytest.raises(InputError, match="is not run"):
        vlp_fast.load(folder)
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_given_is_run(
    call: Call, own: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Also from another place than where the run found it."""
    folder = folder_of(own, request.node.name)
    (folder / "metrics.jsonl").write_text('{"step": 1, "kind": "train", "loss": 1.0}\n')
    moved = own.rename(tmp_path / "moved.py")
    answer = call("viz", folder, "--images", 0, "--recipe-file", moved)
    assert answer.code == 0, answer.err
    assert (tmp_path / "ran").exists()
    assert type(restore_run(folder).task).__name__ == class_name(request.node.name)


def test_an_exported_folder_takes_its_file_too(
    own: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder, name = tmp_path / "model", class_name(request.node.name)
    shutil.copytree(shipped_model("soho_small_world"), folder)
    settings = json.loads((folder / "config.json").read_text())
    settings["kinds"]["task"] = f"own_123456.{name}"
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(
        InputError, match=rf"own_123456\.{name} is of a recipe of somebody.s own; .*give it as"
    ):
        vlp_fast.load(folder, device="cpu")
    model = vlp_fast.load(folder, device="cpu", recipe_file=own)
    assert type(model.trained.about.task).__name__ == name


def test_a_recipe_of_tasks_that_are_known_needs_no_file(tmp_path: Path) -> None:
    known = f"{SohoPretrainingConfig.__module__}.SohoPretrainingConfig"
    folder = folder_of(tmp_path / "gone.py", "", known)
    assert type(restore_run(folder).task) is SohoPretrainingConfig


def test_a_class_of_the_package_stands_for_none_of_that_name(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "gone.py", "", "own_123456.SohoPretrainingConfig")
    with pytest.raises(InputError, match=r"gone\.py, and a file that a folder names is not run"):
        restore_run(folder)
