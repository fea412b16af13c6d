"""Answers by kind: what they are worth, as an evaluation has it, and which are shown."""

import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vlp_fast.cli import main
from vlp_fast.data.samples import Question, Statement
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.restore import restore_experiment
from vlp_fast.recipes.from_file import restore_trained
from vlp_fast.viz import wrong_answers
from vlp_fast.viz.looked import Looked, look
from vlp_fast.viz.wrong_answers import kind_of, said_of, worth_of, wrong_section

QUICK = ["--data.num-workers", 0, "--train.batch-size", 4, "--train.log-every", 1]
QUICK += ["--train.no-picture", "--train.held-out-images", 24, "--steps", 2]
QUICK += ["--data.shorter", 48, "--data.shorter-held-out", 48, "--data.longer", 80]


def looked(task: str, root: Path, folder: Path) -> Looked:
    words = ["train", f"{task}_soho_tiny", "--data.root", root, "--run-dir", folder, *QUICK]
    assert main([str(word) for word in words]) == 0
    return look(restore_experiment(restore_trained(folder, None)))


@pytest.fixture(scope="module")
def vqa(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Looked:
    return looked("vqa", small_world, tmp_path_factory.mktemp("vqa") / "run")


def question(**given: Any) -> Question:
    return Question(**({"key": 1, "images": (0,), "text": "Is it  red or blue?"} | given))


def test_worth_is_that_of_the_official_rule() -> None:
    task: Any = SimpleNamespace(truth=lambda sample: sample.label)
    people = ("red",) * 7 + ("blue",) * 2 + ("green",)
    asked = question(answers=people, majority="red")
    for answer, worth in (("red", 1.0), ("blue", 0.6), ("green", 0.3), ("pink", 0.0)):
        assert worth_of(task, asked, answer) == pytest.approx(worth)
    scored = question(scores=(("red", 0.9),))
    assert [worth_of(task, scored, answer) for answer in ("red", "blue")] == [0.9, 0.0]
    said = Statement(key="a", images=(0, 1), text="", label=True, group="a")
    assert [worth_of(task, said, answer) for answer in (True, False)] == [1.0, 0.0]


def test_a_kind_is_what_the_data_say_or_the_first_words() -> None:
    task: Any = SimpleNamespace(truth=lambda sample: sample.label)
    assert kind_of(task, question(question_type="is it")) == "is it"
    assert kind_of(task, question(text="What COLOUR is it?")) == "what colour"
    said = Statement(key="a", images=(0, 1), text="", label=False, group="a")
    assert kind_of(task, said) == "false"


def test_the_score_is_that_of_the_evaluation(vqa: Looked) -> None:
    rows = read_journal(vqa.task.setup.vocabulary.parent / "metrics.jsonl")  # type: ignore[union-attr]
    expected = [row["vqa"] for row in rows if row["kind"] == "held_out"][-1]
    answers = said_of(vqa)
    assert len(answers) == 24
    assert 100 * sum(one.worth for one in answers) / 24 == pytest.approx(expected, abs=0.01)
    assert all(0 < one.share < 1 for one in answers)
    section = wrong_section(vqa)
    assert f"{expected:.1f} % of the score" in section.body
    (kinds,) = re.findall(r"By kind</h3>(.*?)</table>", section.body, re.S)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in kinds.split("<tr>")[2:]]
    assert sum(int(row[1]) for row in cells) == 24
    lost = [float(row[4]) for row in cells]
    assert lost == sorted(lost, reverse=True)
    assert sum(lost) == pytest.approx(24 * (1 - expected / 100), abs=0.05)


def test_pictures_are_those_of_wrong_answers(vqa: Looked) -> None:
    body = wrong_section(vqa).body
    wrong = {one.sample.text: one for one in said_of(vqa) if one.worth < 1}
    shown = re.findall(r"<b>(.*?)</b><span>model: (.*?) \((\d+) %\)</span>", body)
    assert len(shown) > 3
    for text, answer, _ in shown:
        assert text in wrong
        assert answer in {one.answer for one in said_of(vqa) if one.sample.text == text}
    assert re.search(r"people: [a-z0-9 ]+ x\d", body)


def test_right_answers_are_not_shown(vqa: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [replace(one, worth=float(n != 5)) for n, one in enumerate(said_of(vqa))]
    monkeypatch.setattr(wrong_answers, "said_of", lambda _: answers)
    body = wrong_section(vqa).body
    assert body.count("<figure>") == 1
    assert f"<b>{answers[5].sample.text}</b>" in body
    assert "what is lost is worth 1.0 answers" in body


def test_answers_about_other_pictures_do_not_count(
    vqa: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of a broken picture another sample is shown."""
    task: Any = vqa.task
    logits = torch.zeros(2, task.num_classes).index_fill(1, torch.tensor([3]), 9.0)
    monkeypatch.setattr(task, "logits", lambda *_: logits)
    inputs = SimpleNamespace(asked=(0, 1), indices=(0, 2))
    measured = lambda measure: [measure(inputs)]
    held_out = SimpleNamespace(runtime=vqa.held_out.runtime, measured=measured)
    (only,) = said_of(SimpleNamespace(task=task, held_out=held_out))  # type: ignore[arg-type]
    assert (only.index, only.answer) == (0, task.answer(3))
    assert only.share == pytest.approx(1 / (1 + math.exp(-9)))


@pytest.mark.parametrize(("task", "root", "kinds"), [("nlvr2", "nlvr2", 2), ("ve", "", 3)])
def test_other_tasks_have_the_right_answer_for_a_kind(
    task: str, root: str, kinds: int, small_world: Path, tmp_path: Path
) -> None:
    found = looked(task, small_world / root, tmp_path / "run")
    answers = said_of(found)
    assert len({kind_of(found.task, one.sample) for one in answers}) == kinds  # type: ignore[arg-type]
    body = wrong_section(found).body
    right = sum(one.worth for one in answers)
    assert f"{100 * right / len(answers):.1f} % of the score" in body
    assert "What is mixed up" in body
    assert "By type of answer" not in body
    assert "truth: " in body
