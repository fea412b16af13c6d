"""Damaged downstream annotations give a data set or one printable `InputError`, nothing else."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import damaged
from downstream_files import (
    ANNOTATIONS,
    QUESTIONS,
    WriteImage,
    hypothesis,
    statement,
    write_lines,
    write_vqa_part,
)

from vlp_fast.data.answers import AnswerMap, build_answer_map, read_answer_map, soft_scores
from vlp_fast.data.records import Dataset
from vlp_fast.data.samples import Question
from vlp_fast.data.sources.nlvr2 import load_nlvr2
from vlp_fast.data.sources.snli_ve import load_snli_ve
from vlp_fast.data.sources.vqa import load_vqa
from vlp_fast.errors import InputError


def check(dataset: Dataset) -> None:
    assert all(note.isprintable() for note in dataset.notes)
    assert len({sample.key for sample in dataset.samples}) == len(dataset.samples) > 0
    assert {i for s in dataset.samples for i in s.images} == set(range(len(dataset.records)))
    for record in dataset.records:
        assert -(2**63) <= record.image_id < 2**63
        assert record.path.is_file()
    for sample in dataset.samples:
        assert sample.text
        sample.text.encode()
        if isinstance(sample, Question):
            assert len(sample.answers) in (0, 10)
            "".join(sample.answers).encode()
            assert all(0 < score <= 1 for _, score in sample.scores)
            soft_scores(sample, AnswerMap(("yes",)))


def fuzz(load: Callable[[], object], damage: Callable[[random.Random], None]) -> int:
    """Damage a file many times; return how often something could be read."""
    rng, survived = random.Random(0), 0
    for _ in range(200):
        damage(rng)
        try:
            found = load()
        except InputError as error:
            assert str(error).isprintable()
            continue
        survived += 1
        if isinstance(found, Dataset):
            check(found)
    return survived


def document_damage(path: Path) -> Callable[[random.Random], None]:
    clean = json.loads(path.read_text())
    return lambda rng: path.write_text(json.dumps(damaged(clean, rng))) and None


def lines_damage(path: Path) -> Callable[[random.Random], None]:
    clean = [json.loads(line) for line in path.read_text().split("\n") if line]

    def damage(rng: random.Random) -> None:
        rows: Any = damaged(clean, rng)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    return damage


@pytest.mark.parametrize("name", [QUESTIONS, ANNOTATIONS])
@pytest.mark.parametrize("missing", ["error", "drop"])
def test_damaged_vqa(tmp_path: Path, write_image: WriteImage, name: str, missing: str) -> None:
    write_vqa_part(tmp_path, "val2014", (1, 2, 3), write_image, answered=True)
    damage = document_damage(tmp_path / name.format("val2014"))
    for split in ("val", "minival"):
        survived = fuzz(lambda s=split: load_vqa(tmp_path, s, missing_images=missing), damage)  # type: ignore[misc]
        assert 0 < survived < 200


def test_damaged_lxmert(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "images/000000000005.jpg")
    rows = [
        {
            "question_id": i,
            "img_id": "COCO_train2014_000000000005",
            "sent": "What?",
            "label": {"a": 1, "b": 0.3},
            "question_type": "what",
        }
        for i in range(4)
    ]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(rows))
    load = lambda: load_vqa(tmp_path, "train", missing_images="drop")
    assert 0 < fuzz(load, document_damage(path)) < 200


@pytest.mark.parametrize("missing", ["error", "drop"])
def test_damaged_nlvr2(tmp_path: Path, write_image: WriteImage, missing: str) -> None:
    rows = [statement(f"train-1-{i}-0", directory=3) for i in range(3)]
    for pair in range(3):
        for side in (0, 1):
            write_image(tmp_path / f"images/train/3/train-1-{pair}-img{side}.png")
    damage = lines_damage(write_lines(tmp_path / "train.json", rows))
    assert 0 < fuzz(lambda: load_nlvr2(tmp_path, "train", missing_images=missing), damage) < 200


@pytest.mark.parametrize("missing", ["error", "drop"])
def test_damaged_snli_ve(tmp_path: Path, write_image: WriteImage, missing: str) -> None:
    write_image(tmp_path / "images/5.jpg")
    rows = [hypothesis(f"5.jpg#{i}", "5", label) for i, label in enumerate(["neutral", "-"] * 2)]
    damage = lines_damage(write_lines(tmp_path / "snli_ve_dev.jsonl", rows))
    assert 0 < fuzz(lambda: load_snli_ve(tmp_path, "dev", missing_images=missing), damage) < 200


@pytest.mark.parametrize("clean", [["", "yes", "no"], {"": 0, "yes": 1, "no": 2}])
def test_damaged_answer_maps(tmp_path: Path, clean: Any) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps(clean))
    assert 0 < fuzz(lambda: read_answer_map(path), document_damage(path)) < 200
    question = Question(key=1, images=(), text="?", answers=("a",) * 10, majority="a")
    assert build_answer_map([question], fewest=1).names == ("",)
