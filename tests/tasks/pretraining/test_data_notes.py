"""What is said of the data before a run: of which split, once, and when boxes cannot be learnt."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.notes import split_notes
from vlp_fast.tasks.detection import notes as module

Make = Callable[..., RunConfig]


def notes(run: RunConfig, train: tuple[str, ...] = (), held_out: tuple[str, ...] = ()) -> list[str]:
    task = build_experiment(run).task
    task.train = replace(task.train, notes=train)
    task.held_out = replace(task.held_out, notes=held_out)
    return list(split_notes(task))


def test_a_note_names_its_split_and_comes_once(micro: Make, tmp_path: Path) -> None:
    run = micro("soho_tiny", tmp_path)
    assert notes(run) == []
    assert notes(run, ("no boxes", "3 dropped", "a"), ("2 dropped", "no boxes")) == [
        "train and held out: no boxes",
        "train: 3 dropped",
        "train: a",
        "held out: 2 dropped",
    ]


def test_held_out_images_of_one_caption_are_matched_with_those_of_training(
    micro: Make, small_world: Path, tmp_path: Path
) -> None:
    run = micro("soho_tiny", tmp_path / "run")
    assert build_experiment(run).task.held_out.foreign_captions == ()
    document = json.loads((small_world / "dataset_coco.json").read_text())
    for image in document["images"]:
        if image["split"] == "val":
            image["sentences"] = [{"raw": "a photo."}]
    (tmp_path / "dataset_coco.json").write_text(json.dumps(document))
    (tmp_path / "images").symlink_to(small_world / "images")
    built = build_experiment(replace(run, data=replace(run.data, root=tmp_path)))
    foreign = tuple(dict.fromkeys(built.task.train.captions()))
    assert built.task.held_out.foreign_captions == foreign
    assert any("matching takes foreign ones from training" in note for note in built.notes)


def test_more_boxes_than_queries_are_told(micro: Make, tmp_path: Path) -> None:
    run = micro("e2e_vlp_tiny", tmp_path)
    counts = [len(record.labels) for record in build_experiment(run).task.train.records]
    assert notes(run) == []
    assert max(counts) > 2
    few = replace(run, model=replace(run.model, num_queries=2))
    crowded = sum(count > 2 for count in counts)
    said = notes(few)
    assert said[0] == (
        f"train: {crowded} of 54 images have more boxes than the model's 2 queries (the most: "
        f"{max(counts)}); only 2 of each are matched, unless --model.num-queries is raised"
    )
    assert said[1].startswith("held out: ")
    enough = replace(run, model=replace(run.model, num_queries=max(counts)))
    assert not any(line.startswith("train") for line in notes(enough))
    without = replace(few, task=replace(few.task, detection=False))
    assert notes(without) == []


def test_average_precision_is_not_left_out_silently(
    micro: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "is_available", lambda: False)
    said = notes(micro("e2e_vlp_tiny", tmp_path))
    assert len(said) == 1
    assert "faster-coco-eval is not installed: pip install 'vlp-fast[eval]'" in said[0]
    assert notes(micro("soho_tiny", tmp_path)) == []
