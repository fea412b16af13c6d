"""Runs that learn from several data sets: trained, evaluated, resumed; or refused in one line."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Answer
from micro_runs import Make
from PIL import Image

from vlp_fast.data.world.bounds import Bounds
from vlp_fast.data.world.layouts import make_world
from vlp_fast.engine.checkpoint import complete_checkpoints
from vlp_fast.engine.clock import TIMED
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.recorded_run import restore_run
from vlp_fast.engine.restore import restore_experiment
from vlp_fast.engine.trainer import Trainer, train

Call = Callable[..., Answer]
WORLD = Bounds(sizes=((64, 64), (96, 64)))


@pytest.fixture(scope="session")
def other_world(once: Callable[..., Path]) -> Path:
    """36 pictures, 32 of them for training."""
    draw = lambda folder: make_world(folder / "world", images=36, seed=8, bounds=WORLD)
    return once("other", draw) / "world"


class Killed(BaseException):
    """Stands for SIGKILL."""


def figures(folder: Path) -> list[dict[str, Any]]:
    rows = read_journal(folder / "metrics.jsonl")
    return [{name: x for name, x in row.items() if name not in TIMED} for row in rows]


def mixed(run: RunConfig, *roots: Path, weights: tuple[float, ...] = (1.0, 0.5)) -> RunConfig:
    data = replace(run.data, root=(*run.data.root, *roots), weights=weights)
    return replace(run, data=data)


@pytest.mark.parametrize("name", ["soho_tiny", "e2e_vlp_tiny"])
def test_a_mixed_run_resumes_bit_for_bit(
    micro: Make, other_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    settings = {"checkpoint_every": 3, "evaluate_every": 3, "held_out_images": 4}
    whole = mixed(micro(name, tmp_path / "a", steps=9, **settings), other_world)
    whole = replace(whole, task=replace(whole.task, curriculum=0.5))
    cut = replace(whole, run_dir=tmp_path / "b")
    train(whole)
    advance = Trainer._advance

    def deadly(self: Trainer, batches: Any) -> None:
        if self.step == 5:
            raise Killed
        advance(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_advance", deadly)
        with pytest.raises(Killed):
            train(cut)
    assert complete_checkpoints(cut.directory)[-1].name.endswith("3")
    train(cut)
    for file in ("model.safetensors", "optimizer.safetensors"):
        first, second = (
            (complete_checkpoints(run.directory)[-1] / file).read_bytes() for run in (whole, cut)
        )
        assert first == second
    assert figures(whole.directory) == figures(cut.directory)
    restored = restore_experiment(whole)
    assert restored.task.held_out.sources[:4] == (0, 1, 0, 1)
    recorded = json.loads((whole.directory / "run.json").read_text())["config"]["data"]
    assert recorded["root"] == [str(root) for root in whole.data.root]


def test_figures_are_told_of_each_data_set(
    micro: Make, other_world: Path, tmp_path: Path, call: Call
) -> None:
    """The whole is their mean where all samples weigh alike; one data set has no parts."""
    run = mixed(micro("soho_tiny", tmp_path / "run", steps=3, held_out_images=5), other_world)
    backbone = replace(run.model.backbone, remask=True)  # else padding reaches the border
    train(replace(run, model=replace(run.model, backbone=backbone)))
    rows = read_journal(run.directory / "metrics.jsonl")
    whole = [row for row in rows if row["kind"] == "held_out"][-1]
    parts = [row for row in rows if row["kind"] == "held_out_part"]
    counts = [int(part["of"].split(", ")[1].split()[0]) for part in parts]
    assert [part["of"].split(",")[0] for part in parts] == ["world 1", "world 2"]
    assert sum(counts) == 5
    assert all(counts)
    mean = sum(n * part["itm"] for n, part in zip(counts, parts, strict=True)) / 5
    assert whole["itm"] == pytest.approx(mean, rel=1e-4)
    assert parts[0]["itm"] != parts[1]["itm"]
    answer = call("evaluate", run.directory, "--split", "val")
    assert all(f"of {part['of']}\n" in answer.out for part in (whole, *parts))
    assert build_experiment(micro("soho_tiny", tmp_path / "one")).held_out().parts() == []


def test_epochs_are_counted_over_what_an_epoch_shows(
    micro: Make, other_world: Path, tmp_path: Path
) -> None:
    run = micro("soho_tiny", tmp_path, steps=2)
    run = replace(mixed(run, other_world), steps=None, train=replace(run.train, epochs=3.0))
    experiment = build_experiment(run)
    images = len(experiment.task.train)
    first = experiment.task.train.sources.count(0)
    shown = first + round((images - first) / 2)
    assert experiment.order.epoch_length == experiment.task.train.epoch_length == shown < images
    assert experiment.steps_per_epoch == experiment.order.steps_per_epoch == shown // 6
    assert experiment.total_steps == 3 * (shown // 6)
    assert any(f"({shown - first} an epoch); weights 1, 0.5" in note for note in experiment.notes)


WORDS = ("--train.batch-size", 4, "--train.no-picture", "--data.num-workers", 0, "--steps", 2)
SMALL = (*WORDS, "--train.held-out-images", 4, "--data.shorter", 64, "--data.shorter-held-out", 64)


def test_the_real_genome_beside_a_world(
    shared_data: Path, small_world: Path, tmp_path: Path, call: Call
) -> None:
    """Real annotations of a dozen plain pictures, at their own size and from the command line."""
    genome, run, moved = tmp_path / "vg", tmp_path / "run", tmp_path / "moved"
    shutil.copytree(shared_data / "samples/visual_genome", genome)
    for kind in ("objects", "attributes"):
        shutil.copy(shared_data / f"vocab/vg_{kind}_vocab.txt", genome / f"{kind}_vocab.txt")
    (genome / "VG_100K").mkdir()
    entries = json.loads((genome / "image_data.json").read_text())
    for entry in [*entries[:12], *(e for e in entries if e["image_id"] == 66)]:
        size = (entry["width"], entry["height"])
        Image.new("RGB", size, (90, 160, 20)).save(genome / f"VG_100K/{entry['image_id']}.jpg")
    roots = ("--data.root", small_world, "--data.root", genome)
    words = (*SMALL, "--data.missing-images", "drop", "--run-dir", run)
    answer = call("train", "e2e_vlp_tiny", *roots, *words, "--data.names", "apart")
    assert answer.code == 0, answer.err
    assert "images of world, " in answer.out and "images of Visual Genome" in answer.out
    assert "8 + 1,600 classes are 1,608" in answer.out
    shutil.move(genome, moved)
    roots = ("--data.root", small_world, "--data.root", moved)
    assert call("evaluate", run, *roots).code == 0
    call("evaluate", run, "--data.root", moved).assert_refused("received 1", "2 data sets")
    swapped = ("--data.root", moved, "--data.root", small_world)
    call("evaluate", run, *swapped).assert_refused("learnt other classes")


def test_a_single_root_of_an_earlier_version_is_read(finished: RunConfig, tmp_path: Path) -> None:
    document = json.loads((finished.directory / "run.json").read_text())
    (document["config"]["data"]["root"],) = document["config"]["data"]["root"]
    (tmp_path / "run.json").write_text(json.dumps(document))
    assert restore_run(tmp_path).data.root == finished.data.root


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--data.root", "B", "--data.root", "A/../A"), ("is given twice with --data.root",)),
        (("--data.root", "/absent"), ("/absent: no such folder",)),
        (("--data.root", "B", "--data.weights", 1), ("received 1 for 2 data sets",)),
        (("--data.root", "B", "--data.weights", 1, -1), ("--data.weights", "0 or a positive")),
        (("--data.root", "B", "--data.weights", 0, 0), ("--data.weights", "not 0")),
        (("--data.root", "B", "--data.weights", 1, "nan"), ("--data.weights",)),
        (("--data.root", "B", "--data.names", "x"), ("--data.names",)),
        (("--data.exclude", "/absent/ids"), ("/absent/ids: no such file; --data.exclude",)),
        (
            ("--data.root", "B", "--data.weights", 1, 0.1, "--train.batch-size", 60),
            ("has 57 images an epoch", "give 1 to 57"),
        ),
    ],
)
def test_bad_input_is_one_line(
    words: tuple[object, ...],
    said: tuple[str, ...],
    small_world: Path,
    other_world: Path,
    tmp_path: Path,
    call: Call,
) -> None:
    places = {"B": other_world, "A/../A": small_world / ".." / small_world.name}
    given = [places.get(word, word) if isinstance(word, str) else word for word in words]
    start = ("train", "soho_tiny", "--data.root", small_world, "--run-dir", tmp_path / "run")
    call(*start, *given).assert_refused(*said)


def test_downstream_tasks_learn_from_one(small_world: Path, other_world: Path, call: Call) -> None:
    roots = ("--data.root", small_world, "--data.root", other_world)
    call("train", "vqa_soho_tiny", *roots).assert_refused("received 2 data sets", "give one")


def test_a_recipes_own_root_is_replaced(
    tmp_path: Path, small_world: Path, other_world: Path, call: Call
) -> None:
    recipe = tmp_path / "mine.py"
    recipe.write_text(
        "from dataclasses import replace\nfrom pathlib import Path\n"
        "from vlp_fast.recipes import recipe\n"
        "def tiny():\n"
        "    run = recipe('e2e_vlp_tiny')\n"
        f"    data = replace(run.data, root=Path({str(other_world)!r}))\n"
        "    return replace(run, data=data)\n"
    )
    run = tmp_path / "run"
    words = ("--data.root", small_world, *SMALL, "--run-dir", run)
    answer = call("train", f"{recipe}:tiny", *words)
    assert answer.code == 0, answer.err
    recorded = json.loads((run / "run.json").read_text())["config"]["data"]["root"]
    assert recorded == [str(small_world)]
