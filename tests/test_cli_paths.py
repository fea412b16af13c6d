"""Paths: what is not there is told at once, and a run finds its data from every folder."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.cli import main

Call = Callable[..., Any]  # the fixture of conftest.py
SMALL = ("--steps", "1", "--train.batch-size", "4", "--train.held-out-images", "3")
SMALL += ("--model.width", "32", "--data.num-workers", "0", "--data.no-cache")
SMALL += ("--train.no-picture", "--model.num-codes", "16", "--task.tagging-steps", "0")


@pytest.fixture(scope="module")
def place(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run was trained, all of its paths relative."""
    place = tmp_path_factory.mktemp("place")
    link_world(small_world, place / "set")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(["train", "soho_tiny", "--data.root", "set", "--run-dir", "run", *SMALL]) == 0
    return place


def link_world(world: Path, root: Path) -> Path:
    """The world's annotations, to be changed, with its pictures."""
    shutil.copytree(world, root, ignore=shutil.ignore_patterns("images"))
    (root / "images").symlink_to(world / "images")
    return root


def other_captions(root: Path) -> None:
    path = root / "dataset_coco.json"
    document = json.loads(path.read_text())
    for number, image in enumerate(document["images"]):
        image["sentences"] = [{"raw": f"another text, number {number}"}]
    path.write_text(json.dumps(document))


def test_a_run_is_evaluated_from_every_folder(
    call: Call, place: Path, small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((place / "run/run.json").read_text())["config"]
    assert config["data"]["root"] == [str(place / "set")]
    other_captions(link_world(small_world, tmp_path / "set"))  # of the name that was given
    monkeypatch.chdir(tmp_path)
    answer = call("evaluate", place / "run", "--split", "val")
    assert answer.code == 0, answer.err
    assert "itm_accuracy" in answer.out


def test_a_run_of_an_earlier_version_takes_no_other_folder_silently(
    call: Call, place: Path, small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run.json has the root as it was given."""
    run = shutil.copytree(place / "run", tmp_path / "run")
    described = json.loads((run / "run.json").read_text())
    described["config"]["data"]["root"] = "set"
    (run / "run.json").write_text(json.dumps(described))
    other_captions(link_world(small_world, tmp_path / "set"))
    monkeypatch.chdir(tmp_path)
    words = ("evaluate", "run", "--split", "val")
    call(*words).assert_refused("its run had other data than set", "other captions", "--data.root")
    assert call(*words, "--data.root", place / "set").code == 0


def test_data_that_have_moved_are_found_by_an_option(
    call: Call, place: Path, small_world: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(place / "run", tmp_path / "run")
    described = (run / "run.json").read_text()
    (run / "run.json").write_text(described.replace(str(place / "set"), "/absent/set"))
    words = ("evaluate", run, "--split", "val")
    call(*words).assert_refused("/absent/set: no such folder", "--data.root")
    assert call(*words, "--data.root", small_world).code == 0


def test_the_same_command_goes_on_from_another_folder(
    call: Call, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(place / "run", tmp_path / "run")
    monkeypatch.chdir(place)
    words = ("train", "soho_tiny", "--data.root", "set", "--run-dir", run, *SMALL)
    answer = call(*words, "--steps", "2")
    assert answer.code == 0, answer.err
    assert "steps 1 to 2" in answer.out


LONG = "a" * 300
FIRST: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "none": (("train", "soho_tiny"), ("--data.root is missing", "make-world")),
    "root": (("train", "soho_tiny", "--data.root", "/absent/x"), ("/absent/x: no such folder",)),
    "long": (("train", "soho_tiny", "--data.root", LONG), (os.strerror(36), "--data.root")),
    "file": (("train", "soho_tiny", "--data.root", __file__), ("is a file, not a folder",)),
    "below": (("train", "soho_tiny", "--data.root", f"{__file__}/x"), ("is below a file",)),
    "run": (("evaluate", "/absent/run"), ("/absent/run", os.strerror(2), "run folder")),
    "long run": (("evaluate", LONG), (os.strerror(36),)),
    "two": (
        ("train", "vqa_soho_tiny", "--data.root", "/", "--data.root", "/tmp"),
        ("--data.root: received 2 data sets (/ + /tmp)", "learns from one"),
    ),
    "vocabulary": (
        ("train", "soho_tiny", "--data.root", "/", "--data.vocabulary", "/absent.txt"),
        ("/absent.txt: no such file; --data.vocabulary takes",),
    ),
    "folder": (
        ("train", "soho_tiny", "--data.root", "/", "--data.objects-vocabulary", "/"),
        ("/: is a folder, not a file; --data.objects-vocabulary takes",),
    ),
    "weights": (
        ("train", "soho_tiny", "--data.root", "/", "--init", f"/{LONG}"),
        (os.strerror(36), "--init takes"),
    ),
    "run folder": (
        ("train", "soho_tiny", "--data.root", "/", "--run-dir", f"{__file__}/x"),
        (f"{__file__}/x: cannot be written", "--run-dir"),
    ),
    "long run folder": (
        ("train", "soho_tiny", "--data.root", "/", "--run-dir", LONG),
        (f"cannot be written ({os.strerror(36)})", "--run-dir"),
    ),
}


@pytest.mark.parametrize("case", FIRST)
def test_a_path_that_is_not_there_is_told_before_torch_is_imported(
    tmp_path: Path, case: str
) -> None:
    words, named = FIRST[case]
    code = (
        "import sys\n"
        "from vlp_fast.cli import main\n"
        f"code = main({list(words)!r})\n"
        "heavy = {'torch', 'numpy', 'tokenizers', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("vlp-fast: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert all(name in done.stderr for name in named), done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("case", ["root", "run", "two"])
def test_a_path_that_is_not_there_is_told_in_half_a_second(case: str) -> None:
    times = []
    for _ in range(3):
        before = os.times()  # of the processor: other work on the machine is not the command's
        command = [sys.executable, "-m", "vlp_fast", *FIRST[case][0]]
        assert subprocess.run(command, capture_output=True).returncode == 2
        after = os.times()
        spent = after.children_user - before.children_user
        times.append(spent + after.children_system - before.children_system)
    assert min(times) < 0.5


def test_a_folder_that_may_not_be_read_says_so(
    call: Call, small_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refused)  # root may read anything
    call("train", "soho_tiny", "--data.root", small_world).assert_refused(
        f"{small_world}: Permission denied; give the folder of the data set with --data.root"
    )


def test_a_run_that_may_not_be_read_says_so(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refused)
    call("evaluate", tmp_path).assert_refused("no readable run.json (Permission denied)")


def test_versions_are_told() -> None:
    for words in (["-m", "vlp_fast"], ["-c", "from vlp_fast.cli import main; main()"]):
        done = subprocess.run([sys.executable, *words, "--version"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"vlp-fast {__import__('vlp_fast').__version__}\n"


def test_every_command_is_a_file_with_a_line_of_usage(call: Call) -> None:
    from vlp_fast import cli

    files = {path.stem for path in Path(cli.__file__).parent.glob("[!_]*.py")}
    shared = {"options", "output", "progress", "recorded", "said", "sheet", "stored"}
    assert files - shared == set(cli.COMMANDS)
    usage = call("--help").out
    for name in cli.COMMANDS:
        assert f"\n  {name} " in usage
        answer = call(name, "--help")
        assert (answer.code, answer.err) == (0, "")
        assert f"usage: vlp-fast {name}" in answer.out
    assert max(map(len, usage.splitlines())) <= 100
