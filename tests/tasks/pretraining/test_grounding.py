"""Does the model use the picture? A blind model, and one that knows the answers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.data.examples import Example, ImageLoader
from vlp_fast.data.world.language import described_objects
from vlp_fast.data.world.layouts import read_scenes
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.pretraining import grounding
from vlp_fast.tasks.pretraining.e2e_vlp import E2EVLPPretraining
from vlp_fast.tasks.pretraining.pretraining import Pretraining

Make = Callable[..., RunConfig]


@pytest.fixture
def held_out(micro: Make, tmp_path: Path) -> HeldOut:
    """The training pictures serve as held-out ones: there are more of them."""
    run = micro("e2e_vlp_tiny", tmp_path, held_out_images=25, batch_size=6)
    run = replace(run, data=replace(run.data, held_out_split="train"))
    built = build_experiment(run)
    built.learner.eval()
    return built.held_out()


def measured(held_out: HeldOut) -> dict[str, float]:
    assert isinstance(held_out.task, Pretraining)
    return grounding.grounding_figures(held_out.task, held_out)


def test_a_model_that_reads_the_picture(held_out: HeldOut, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle answers by what it is shown, so it is wrong where the picture is another's."""
    asked: dict[int, int] = {}
    kept: list[Any] = []  # or another question may get the id of one that is gone
    shown: list[list[int]] = []

    def oracle(_: Pretraining, __: HeldOut, questions: list[Any], examples: list[Any]) -> list[int]:
        shown.append([e.index for e in examples])
        kept.extend(questions)
        for question, example in zip(questions, examples, strict=True):
            if question is not None:
                asked.setdefault(id(question), example.index)
        return [
            q.answer if q is not None and asked[id(q)] == e.index else -1
            for q, e in zip(questions, examples, strict=True)
        ]

    monkeypatch.setattr(grounding, "_answers", oracle)
    figures = measured(held_out)
    assert figures["mlm_right"] == 1
    assert figures["mlm_shuffled"] == 0
    for right, other in zip(shown[::2], shown[1::2], strict=True):
        assert sorted(right) == sorted(other)
        assert all(a != b for a, b in zip(right, other, strict=True))
    assert sum(map(len, shown[::2])) == 25


def test_questions_mask_one_word_that_the_text_has(
    held_out: HeldOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def blind(_: Pretraining, __: HeldOut, questions: list[Any], examples: list[Any]) -> list[int]:
        seen.extend(zip(questions, examples, strict=True))
        return [-1] * len(questions)

    monkeypatch.setattr(grounding, "_answers", blind)
    figures = measured(held_out)
    assert figures["mlm_right"] == 0
    tokenizer = held_out.task.tokenizer
    questions = [(q, e) for q, e in seen[:6] if q is not None]
    assert questions
    for question, example in questions:
        assert question.ids.count(tokenizer.mask_id) == 1
        ids = list(question.ids)
        ids[question.position] = question.answer
        own = [tokenizer.encode(text, 24) for text in example.captions]
        assert ids in own


def test_true_and_false_captions_are_told_apart(
    held_out: HeldOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root,) = held_out.task.setup.data.root
    scenes = read_scenes(root)
    with_pairs = {
        i: text
        for r in held_out.task.held_out.records
        for i, text in ((r.image_id, t) for t in r.captions)
        if described_objects(text)
    }
    monkeypatch.setattr(grounding, "_answers", lambda _, __, q, e: [-1] * len(q))

    def told(_: Pretraining, __: HeldOut, examples: list[Any]) -> list[str]:
        return [with_pairs.get(e.image_id, "") for e in examples]

    monkeypatch.setattr(E2EVLPPretraining, "captions", told)
    right = measured(held_out)
    assert right["caption_all_pairs_right"] == right["caption_some_pair_right"] == 1
    wrong = {}
    for image_id, scene in scenes.items():
        there = {(thing.colour, thing.kind) for thing in scene.objects}
        wrong[image_id] = next(
            (t for t in with_pairs.values() if not there & set(described_objects(t))), ""
        )
    lie = lambda _, __, examples: [wrong[e.image_id] for e in examples]
    monkeypatch.setattr(E2EVLPPretraining, "captions", lie)
    assert measured(held_out)["caption_some_pair_right"] == 0


def test_other_data_beside_a_world_are_asked_nothing(held_out: HeldOut) -> None:
    (root,) = held_out.task.setup.data.root
    assert (root / "world.json").is_file()
    held_out.task.held_out = replace(held_out.task.held_out, describes=None)
    assert measured(held_out) == {}


def test_pictures_are_decoded_batch_by_batch(
    held_out: HeldOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    load = ImageLoader.load

    def watched(self: ImageLoader, index: int, epoch: int) -> Example:
        decoded.append(index)
        return load(self, index, epoch)

    monkeypatch.setattr(ImageLoader, "load", watched)
    sizes = []
    for number, batch in enumerate(held_out.similar_examples(), start=1):
        assert len(decoded) <= 6 * number + 1
        aspects = [e.image.shape[2] / e.image.shape[1] for e in batch]
        assert aspects == sorted(aspects)
        sizes.append(len(batch))
    assert sorted(decoded) == held_out.indices
    assert sizes == [6, 6, 6, 7]
