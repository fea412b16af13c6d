"""A run goes on, and is evaluated, with the data it learnt from; others are refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.evaluator import evaluate
from vlp_fast.engine.restore import restore_experiment
from vlp_fast.engine.trainer import train
from vlp_fast.errors import InputError

STATE = "checkpoint-00000004/state.json"


@pytest.fixture
def root(copied_world: Path) -> Path:
    """Where the data lie when a run goes on."""
    return copied_world


@pytest.fixture
def run(finished: RunConfig, root: Path, tmp_path: Path) -> RunConfig:
    """A copy of a finished run whose data lie in `root` now, with steps left to do."""
    folder = shutil.copytree(finished.directory, tmp_path / "run")
    return replace(finished, run_dir=folder, steps=5, data=replace(finished.data, root=root))


def edit(root: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the entries of Karpathy's file."""
    path = root / "dataset_coco.json"
    document = json.loads(path.read_text())
    change(document["images"])
    path.write_text(json.dumps(document))


def edit_state(run: RunConfig, **changes: object) -> None:
    path = run.directory / STATE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def of(entries: list[dict[str, Any]], split: str) -> list[dict[str, Any]]:
    return [entry for entry in entries if entry["split"] == split]


def other_caption(split: str) -> Callable[[Path], None]:
    def change(entries: list[dict[str, Any]]) -> None:
        of(entries, split)[-1]["sentences"][0]["raw"] += " indeed"

    return lambda root: edit(root, change)


def without_an_image(split: str) -> Callable[[Path], None]:
    return lambda root: edit(root, lambda entries: entries.remove(of(entries, split)[0]))


def other_box(root: Path) -> None:
    path = root / "annotations/instances_world.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["bbox"][2] /= 2
    path.write_text(json.dumps(document))


def other_order(root: Path) -> None:
    edit(root, lambda entries: entries.reverse())


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "caption": (other_caption("train"), "train has 54 images as it had then, with other captions;"),
    "held out": (other_caption("val"), "held out has 3 images as it had then, with other captions"),
    "fewer": (without_an_image("train"), "train had 54 images then and has 53 now"),
    "fewer held out": (without_an_image("val"), "held out had 3 images then and has 2 now"),
    "box": (other_box, "with other boxes (places, classes or attributes);"),
    "order": (
        other_order,
        "with other image files (names, ids or sizes) and other captions and other boxes",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_data_in_the_folder_are_refused(run: RunConfig, root: Path, change: str) -> None:
    make, said = CHANGES[change]
    make(root)
    before = {path: path.read_bytes() for path in run.directory.rglob("*") if path.is_file()}
    for go_on in (train, restore_experiment):
        with pytest.raises(InputError) as refused:
            go_on(run)
        assert f"{STATE.split('/')[0]}: its run had other data than {root}: " in str(refused.value)
        assert said in str(refused.value)
        assert "--data.root" in str(refused.value)
    assert {p: p.read_bytes() for p in run.directory.rglob("*") if p.is_file()} == before


def test_the_same_data_in_another_folder_are_taken(run: RunConfig) -> None:
    train(run)
    assert (run.directory / "checkpoint-00000005").is_dir()


def test_pictures_that_an_evaluation_does_not_show_may_be_broken(
    run: RunConfig, root: Path
) -> None:
    """Those of training; of the held-out ones they are shown, and most are broken."""
    pictures = shutil.copytree((root / "images").resolve(), root / "copies")
    (root / "images").unlink()
    pictures.rename(root / "images")
    experiment = restore_experiment(run)
    for record in experiment.task.train.records:
        record.path.write_bytes(b"")
    assert evaluate(restore_experiment(run))
    with pytest.raises(InputError, match="images of world train that were looked at cannot be"):
        train(run)
    shown = replace(run, data=replace(run.data, held_out_split="train"))
    shown = replace(shown, train=replace(run.train, held_out_images=20))
    with pytest.raises(InputError, match="20 of 20 images of world train that were looked at"):
        restore_experiment(shown)


def test_another_split_may_be_evaluated(run: RunConfig, root: Path) -> None:
    without_an_image("test")(root)
    for split in ("test", "train"):
        restore_experiment(replace(run, data=replace(run.data, held_out_split=split)))
    without_an_image("train")(root)
    with pytest.raises(InputError, match="train had 54 images"):
        restore_experiment(replace(run, data=replace(run.data, held_out_split="test")))


def test_a_checkpoint_that_kept_no_digest_is_loaded_and_told(
    run: RunConfig, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run.directory / STATE
    state = json.loads(path.read_text())
    del state["data"]
    path.write_text(json.dumps(state))
    other_caption("train")(root)
    said: list[str] = []
    restore_experiment(run, said.append)
    assert said == [
        "checkpoint-00000004 is of a version that kept no digest of its data; whether "
        f"{root} holds the same is not known"
    ]
    train(run)
    assert capsys.readouterr().out.count(f"note: {said[0]}\n") == 1
    assert "data" in json.loads((run.directory / "checkpoint-00000005/state.json").read_text())


@pytest.mark.parametrize("data", [None, [], 3, {}, {"train": None, "held_out": 1}])
def test_a_digest_that_is_none_is_refused(run: RunConfig, data: object) -> None:
    edit_state(run, data=data)
    with pytest.raises(InputError, match="train had other images then and has 54 now"):
        restore_experiment(run)


def test_easiest_first_does_not_change_the_digest(run: RunConfig) -> None:
    """It is of the data as they are read, not as they are shown."""
    identity = restore_experiment(run).identity
    curriculum = replace(run, task=replace(run.task, curriculum=0.5))
    assert restore_experiment(curriculum).identity == identity
