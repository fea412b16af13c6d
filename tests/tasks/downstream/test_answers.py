"""What each task compares with: soft targets, labels, scores; right and wrong models."""

import json
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sample_tasks import Build, Cpu, shown

from vlp_fast.data.records import Dataset
from vlp_fast.errors import InputError
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.downstream.sample_batch import SampleInputs
from vlp_fast.tasks.downstream.sample_task import SampleTask
from vlp_fast.tasks.held_out import HeldOut

ALL = pytest.mark.parametrize("name", ["vqa", "nlvr2", "ve"])


def held_out(task: SampleTask) -> HeldOut:
    return HeldOut(task=task, runtime=Cpu(), batch_size=6)


def official_soft_scores(answers: list[str]) -> dict[str, float]:
    """Each of the ten left out in turn: how many of the other nine agree, a third each."""
    counts = Counter(answers)
    return {
        a: sum(min(1.0, (n - (other == a)) / 3) for other in answers) / 10
        for a, n in counts.items()
    }


def test_the_loss_of_vqa_is_summed_over_answers_and_averaged_over_questions(build: Build) -> None:
    task = build("vqa")
    inputs = task.collate(shown(task, 0, 5, 9), BatchKey(task.train, 0, 0))
    names = task.answer_map.names  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, len(names), generator=generator, dtype=torch.float64)
    total = 0.0
    for row, index in zip(logits, inputs.indices, strict=True):
        scores = official_soft_scores(list(task.train.samples[index].answers))  # type: ignore[attr-defined]
        for value, name in zip(row.tolist(), names, strict=True):
            y, p = scores.get(name, 0.0), 1 / (1 + math.exp(-value))
            total -= y * math.log(p) + (1 - y) * math.log(1 - p)
    output = task.output(logits, inputs.targets)
    assert float(output.total) == pytest.approx(total / 3, rel=1e-6)
    zero = task.output(torch.zeros(3, len(names)), inputs.targets)
    assert float(zero.total) == pytest.approx(len(names) * math.log(2), rel=1e-6)


def test_thirds_are_another_target(build: Build) -> None:
    thirds = build("vqa", soft_scores="thirds")
    inputs = thirds.collate(shown(thirds, 0, 1, 2, 3), BatchKey(thirds.train, 0, 0))
    allowed = torch.tensor([1 / 3, 2 / 3, 1.0])
    assert bool(torch.isin(inputs.targets["scores"], allowed).all())


@ALL
def test_a_model_that_knows_is_right_and_its_opposite_wrong(
    build: Build, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    task = build(name)

    def logits(knows: bool) -> Any:
        def of(_: Any, inputs: SampleInputs) -> torch.Tensor:
            rows = torch.zeros(len(inputs.indices), task.num_classes)
            for row, index in zip(rows, inputs.indices, strict=True):
                truth = task.truth(task.held_out.samples[index])
                places = [p for p in range(task.num_classes) if task.answer(p) == truth]
                row[places] = 9.0 if knows else -9.0
            return rows

        return of

    key = "vqa" if name == "vqa" else "accuracy"
    monkeypatch.setattr(task, "logits", logits(True))
    right = task.figures(held_out(task))
    monkeypatch.setattr(task, "logits", logits(False))
    wrong = task.figures(held_out(task))
    assert right[key] > 89
    assert wrong[key] < 11
    if name == "nlvr2":
        assert right["consistency"] == 100
        assert wrong["consistency"] == 0
    assert right[task.curves[0]] < wrong[task.curves[0]]
    assert all(word.isidentifier() for word in right)


@ALL
def test_figures_are_of_examples_and_not_of_batches(build: Build, name: str) -> None:
    task = build(name)
    whole = task.figures(held_out(task))
    uneven = task.figures(HeldOut(task=task, runtime=Cpu(), batch_size=7))
    for figure in whole:
        assert whole[figure] == pytest.approx(uneven[figure], rel=1e-5), figure


@ALL
def test_shuffled_pictures_are_those_of_other_samples(
    build: Build, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """First all pictures are their own, then none, then of several each one alone."""
    task = build(name, shuffled=True)
    all_shown = {s.images for s in task.held_out.samples}
    seen: list[tuple[bool, ...]] = []
    collate = task.collate

    def watched(examples: list[Any], key: BatchKey) -> SampleInputs:
        for example in examples:
            shown = tuple(picture.index for picture in example.pictures)
            pairs = zip(shown, example.sample.images, strict=True)
            seen.append(tuple(picture == its_own for picture, its_own in pairs))
            assert shown in all_shown or len(set(seen[-1])) == 2
        return collate(examples, key)

    monkeypatch.setattr(task, "collate", watched)
    figures = task.figures(held_out(task))
    count = held_out(task).count
    ways = [(True, True), (False, False), (True, False), (False, True)]
    if name != "nlvr2":
        ways = [(True,), (False,)]
    assert seen == [way for way in ways for _ in range(count)]
    endings = ["", "_shuffled", "_left_only", "_right_only"][: len(ways)]
    measured = {figure for figure in figures if figure.endswith("shuffled")}
    plain = {figure.removesuffix("_shuffled") for figure in measured}
    assert plain
    assert {figure + ending for figure in plain for ending in endings} <= set(figures)
    assert figures == task.figures(held_out(task))


@ALL
def test_a_model_that_says_one_thing_is_at_chance(
    build: Build, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The line names the figure, what the most frequent answer scores, and that answer."""
    task = build(name)
    (usual,) = [p for p in range(task.num_classes) if task.answer(p) == task.usual]

    def always(place: int) -> Any:
        row = torch.nn.functional.one_hot(torch.tensor(place), task.num_classes).float()
        return lambda _, inputs: row.expand(len(inputs.indices), -1)

    monkeypatch.setattr(task, "logits", always(usual))
    figures = task.figures(held_out(task))
    figure = "vqa" if name == "vqa" else "accuracy"
    (line,) = task.remarks(figures, held_out(task))
    score = f"{figures[figure]:.2f}"
    assert line.startswith(f"at chance: {figure} {score} is not above {score}, which the most")
    assert f"({task.usual!r}) scores on the same {task.samples}" in line
    assert task.remarks({**figures, figure: figures[figure] + 0.01}, held_out(task)) == []
    assert task.remarks({}, held_out(task)) == []
    share = sum(task.truth(task.held_out.samples[i]) == task.usual for i in held_out(task).indices)
    if name != "vqa":
        assert figures[figure] == pytest.approx(100 * share / 20)


def by_number(task: SampleTask) -> Any:
    """Logits of a model that answers sample i by class i mod C."""

    def of(_: Any, inputs: SampleInputs) -> torch.Tensor:
        places = torch.tensor(inputs.indices) % task.num_classes
        return torch.nn.functional.one_hot(places, task.num_classes).float()

    return of


def with_a_broken_picture(world: Path, tmp_path: Path, name: str) -> tuple[Path, Any]:
    """A copy of the world, and what breaks the last picture of a sample that is measured."""
    root = shutil.copytree(world / "nlvr2" if name == "nlvr2" else world, tmp_path / "world")

    def spoil(task: SampleTask) -> set[int]:
        """Returns the samples that show it."""
        image = task.held_out.samples[held_out(task).indices[2]].images[-1]
        path = task.held_out.records[image].path
        path.unlink()
        path.write_bytes(b"no picture")
        return {i for i, s in enumerate(task.held_out.samples) if image in s.images}

    return root, spoil


@ALL
def test_each_sample_counts_once_though_its_picture_is_broken(
    build: Build, small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    root, spoil = with_a_broken_picture(small_world, tmp_path, name)
    task = build(name, root=root)
    lost = spoil(task)
    counted: list[tuple[Any, Any]] = []
    monkeypatch.setattr(task, "logits", by_number(task))
    monkeypatch.setattr(task, "add", lambda _, sample, answer: counted.append((sample.key, answer)))
    task.figures(held_out(task))
    chosen = held_out(task).indices
    assert lost & set(chosen)
    assert dict(counted) == {
        task.held_out.samples[i].key: task.usual if i in lost else task.answer(i % task.num_classes)
        for i in chosen
    }
    assert len(counted) == len(chosen) == 20
    frequent = Counter(task.truth(sample) for sample in task.train.samples)
    assert frequent[task.usual] == max(frequent.values())


@pytest.mark.parametrize("name", ["vqa", "nlvr2"])
def test_samples_of_which_nobody_knows_have_no_figures(build: Build, name: str) -> None:
    task = build(name)
    whole = task.held_out
    empty = {"answers": (), "majority": ""} if name == "vqa" else {"label": None}
    blind = [replace(sample, **empty) for sample in whole.samples]

    def show(samples: Sequence[Any]) -> None:
        task.held_out = replace(whole, samples=tuple(samples))
        task.held_out_examples = task.loader(task.held_out, None)

    show(blind)
    assert task.figures(held_out(task)) == {}
    assert math.isfinite(
        float(task.output(torch.zeros(2, task.num_classes), task.targets(blind[:2])).total)
    )
    if name == "nlvr2":
        show([*whole.samples[:7], *blind[7:20]])
        found = task.figures(held_out(task))
        show(whole.samples[:7])
        told = task.figures(held_out(task))
        assert found["reasoning"] == pytest.approx(told["reasoning"], rel=1e-5)
        assert found["reasoning_accuracy"] == pytest.approx(told["reasoning_accuracy"])
        assert 100 * found["reasoning_accuracy"] == pytest.approx(found["accuracy"])
        task.setup = replace(task.setup, held_out_images=1)
        (only,) = held_out(task).indices
        show([*whole.samples[:only], blind[only], *whole.samples[only + 1 :]])
        assert task.figures(held_out(task)) == {}  # the one that is measured is not known


@ALL
def test_what_is_handed_in_is_the_models_answer_to_every_sample_once(
    build: Build, small_world: Path, tmp_path: Path, name: str
) -> None:
    split = "test" if name != "nlvr2" else "test1"
    root, spoil = with_a_broken_picture(small_world, tmp_path, name)
    task = build(name, root=root)
    setup = replace(task.setup, data=replace(task.setup.data, held_out_split=split))
    handed = task.settings.build(replace(setup, held_out_images=10**9))
    lost = spoil(handed)
    handed.logits = by_number(handed)
    file = tmp_path / "answers"
    said: list[str] = []
    handed.submit(held_out(handed), file, said.append)
    dataset: Dataset = handed.held_out
    expected = {
        str(sample.key): str(handed.usual if i in lost else handed.answer(i % handed.num_classes))
        for i, sample in enumerate(dataset.samples)
    }
    written = _written(file, name)
    assert len(written) == len(dataset.samples)
    assert dict(written) == expected
    (line,) = said
    assert line.startswith(f"{len(lost)} {handed.samples} whose picture cannot be read")


def _written(file: Path, name: str) -> list[tuple[str, str]]:
    """Keys and answers."""
    text = file.read_text()
    if name == "vqa":
        return [(str(entry["question_id"]), entry["answer"]) for entry in json.loads(text)]
    if name == "nlvr2":
        return [tuple(line.split(",")) for line in text.splitlines()]  # type: ignore[misc]
    return [tuple(map(str, json.loads(line).values())) for line in text.splitlines()]  # type: ignore[misc]


def test_scores_in_place_of_answers_give_no_official_figure(build: Build) -> None:
    """LXMERT's files; who asks for `vqa` is told what there is."""
    task = build("vqa")
    assert task.notes()["held out"] == []
    scored = [
        replace(sample, answers=(), scores=((task.truth(sample), 1.0),))
        for sample in task.held_out.samples
    ]
    task.held_out = replace(task.held_out, samples=tuple(scored))
    task.held_out_examples = task.loader(task.held_out, None)
    assert set(task.figures(held_out(task))) == {"loss", "answering", "answering_accuracy"}
    (note,) = task.notes()["held out"]
    assert "answering_accuracy is the mean of these scores" in note


def test_unknown_answers_are_refused(build: Build, tmp_path: Any) -> None:
    from vlp_fast.errors import InputError

    file = tmp_path / "answers.json"
    file.write_text('["zebra"]')
    with pytest.raises(InputError, match=r"no question .* has an answer of the 1 in the map"):
        build("vqa", answers=file)


def test_consistency_is_of_groups_and_not_of_sentences(build: Build) -> None:
    """As in the official script: two sets of pictures may have one and the same sentence."""
    task = build("nlvr2")
    score = task.score()
    first, second = (
        replace(task.held_out.samples[0], key=f"dev-{n}-0-0", group=f"dev-{n}--0", label=True)
        for n in (1, 2)
    )
    for sample, answer in ((first, True), (second, False)):
        task.add(score, sample, answer)
    assert score.figures() == {"accuracy": 50.0, "consistency": 50.0}
    task.add(score, replace(first, key="dev-1-1-0", text="Another."), False)
    assert score.figures()["consistency"] == 0.0


@pytest.mark.parametrize("name", ["vqa", "nlvr2"])
def test_nothing_is_learnt_from_a_split_without_answers(
    build: Build, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    task = build(name)
    monkeypatch.setattr(type(task), "truth", lambda self, sample: None)
    with pytest.raises(
        InputError, match=r"do not say the right answers of .* train, .*train-split"
    ):
        task.settings.build(task.setup)


@ALL
def test_a_split_with_samples_left_out_is_not_answered(build: Build, name: str) -> None:
    """Servers want all, and the model would run for an hour first."""
    task = build(name)
    setup = replace(task.setup, data=replace(task.setup.data, held_out_split="test"))
    handed = task.settings.build(replace(setup, held_out_images=10**9))
    whole = handed.held_out
    lost = whole.samples[2].key
    handed.held_out = replace(whole, samples=(*whole.samples[:2], *whole.samples[3:]))
    handed.answered = lambda held_out: pytest.fail("the split is answered")
    with pytest.raises(InputError) as caught:
        handed.submit(held_out(handed), Path("/absent/file"), print)
    said = f"1 of {len(whole.samples)} samples of {whole.name} are left out"
    assert said in str(caught.value) and repr(lost) in str(caught.value)
