"""Samples become batches: a CNN pass a picture, order of pictures, nothing but what is meant."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sample_tasks import Build, shown

from vlp_fast.data.examples import ImageLoader
from vlp_fast.data.order import SampleOrder
from vlp_fast.errors import InputError
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.downstream.sample_task import SampleTask

BOTH = pytest.mark.parametrize("model", ["soho", "e2e_vlp"])
ALL = pytest.mark.parametrize("name", ["vqa", "nlvr2", "ve"])


def logits(task: SampleTask, examples: list[Any]) -> torch.Tensor:
    with torch.no_grad():
        return task.logits(task.learner, task.collate(examples, BatchKey(task.train, 0, 0)))


def of_one_picture(task: SampleTask, count: int) -> list[int]:
    """Samples about one and the same picture."""
    samples = task.train.samples
    first = samples[0].images
    return [i for i, sample in enumerate(samples) if sample.images == first][:count]


@BOTH
@ALL
def test_answers_do_not_depend_on_batch_mates(build: Build, name: str, model: str) -> None:
    task = build(name, model)
    examples = shown(task, 0, 7, 1, 30, 12)
    together = logits(task, examples)
    assert together.shape == (5, task.num_classes)
    alone = torch.cat([logits(task, [example]) for example in examples])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert together.std(0).max() > 1e-4


@BOTH
def test_the_cnn_sees_a_picture_once_whatever_is_asked_of_it(build: Build, model: str) -> None:
    task = build("vqa", model)
    examples = shown(task, *of_one_picture(task, 3))
    sizes: list[torch.Size] = []
    task.learner.model.backbone.register_forward_pre_hook(
        lambda _, given: sizes.append(given[0].shape)
    )
    together = logits(task, examples)
    assert [size[0] for size in sizes] == [1]
    assert len(together) == 3


@BOTH
@ALL
def test_other_pixels_are_another_answer(build: Build, name: str, model: str) -> None:
    task = build(name, model)
    (example,) = shown(task, 0)
    for place, picture in enumerate(example.pictures):
        other = replace(picture, image=picture.image.flip(2) + 0.5)
        pictures = (*example.pictures[:place], other, *example.pictures[place + 1 :])
        changed = replace(example, pictures=pictures)
        assert (logits(task, [example]) - logits(task, [changed])).abs().max() > 1e-4


@BOTH
def test_left_and_right_are_told_apart_by_their_order(build: Build, model: str) -> None:
    task = build("nlvr2", model)
    (example,) = shown(task, 0)
    swapped = replace(example, pictures=example.pictures[::-1])
    assert (logits(task, [example]) - logits(task, [swapped])).abs().max() > 1e-4
    inputs = task.collate(shown(task, 3, 0), BatchKey(task.train, 0, 0))
    for place, picture in zip(inputs.packing.image_of[2:], example.pictures, strict=True):
        _, height, width = picture.image.shape
        assert torch.equal(inputs.images[place][:, :height, :width], picture.image)
    left, right = (task.train.records[image].path.name for image in example.sample.images)
    assert ("img0" in left, "img1" in right) == (True, True)


@pytest.mark.parametrize("premise", ["image", "image+text"])
def test_a_premise_is_read_only_where_it_is_asked_for(build: Build, premise: str) -> None:
    task = build("ve", premise=premise)
    (example,) = shown(task, 0)
    other = replace(example, sample=replace(example.sample, premise="an other text"))
    key = BatchKey(task.train, 0, 0)
    first, second = (task.collate([e], key).text_ids.tolist() for e in (example, other))
    assert (first == second) == (premise == "image")
    assert any("leak" in line for line in task.notes()["train"]) == (premise == "image+text")


def test_soho_reads_features_and_not_codes_unless_asked(build: Build) -> None:
    task, coded = build("vqa"), build("vqa", codes=True)
    coded.learner.load_state_dict(task.learner.state_dict())
    examples = shown(task, 0, 1, 2)
    before = logits(task, examples)
    assert (before - logits(coded, examples)).abs().max() > 1e-4
    for made in (task, coded):
        made.learner.model.dictionary.embed.add_(1.0)  # type: ignore[union-attr]
    assert torch.equal(before, logits(task, examples))
    for made in (task, coded):
        made.learner.train()
        made.forward(made.learner, made.collate(examples, BatchKey(made.train, 0, 0)))
    hits = [m.learner.model.dictionary.cluster_size.sum() for m in (task, coded)]  # type: ignore[union-attr]
    assert hits[0] != hits[1]  # the dictionary of who reads features stands still


@ALL
def test_a_sample_with_a_broken_picture_is_replaced_whole(
    build: Build, small_world: Path, tmp_path: Path, name: str
) -> None:
    world = shutil.copytree(small_world, tmp_path / "world")
    task = build(name, root=world / "nlvr2" if name == "nlvr2" else world)
    sample = task.train.samples[0]
    path = task.train.records[sample.images[-1]].path
    path.unlink()
    path.write_bytes(b"no picture")
    example = task.examples.load(0, 0)
    assert example.problem is not None
    assert path.name in example.problem
    assert example.sample.key != sample.key
    assert [picture.index for picture in example.pictures] == list(example.sample.images)


def test_samples_of_a_picture_may_come_together(build: Build) -> None:
    task = build("vqa", keep_together=True)
    base = SampleOrder(len(task.train), 8, seed=3, aspects=task.train.aspects())
    together = task.order(base)
    pictures = lambda order: [
        len({task.train.samples[i].images for i in order.batch(step)[1]}) for step in range(10)
    ]
    assert sum(pictures(together)) * 2 < sum(pictures(base))
    steps = base.steps_per_epoch
    once = [i for step in range(steps) for i in together.batch(step)[1]]
    assert len(once) == len(set(once)) == steps * 8
    assert together.batch(3) == task.order(base).batch(3)
    assert together.batch(3) != together.batch(3 + steps)


def test_a_picture_is_decoded_once_for_samples_that_come_together(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And anew in another epoch, where it may have another size."""
    made = build("vqa", keep_together=True)
    data = replace(made.setup.data, shorter=(32, 40, 48, 56), longer=200)
    task = made.settings.build(replace(made.setup, data=data))
    order = task.order(SampleOrder(len(task.train), 8, seed=3, aspects=task.train.aspects()))
    decoded: list[int] = []
    show = ImageLoader.show
    monkeypatch.setattr(
        ImageLoader,
        "show",
        lambda self, index, *rest: (decoded.append(index), show(self, index, *rest))[1],
    )
    for step in range(6):
        epoch, batch = order.batch(step)
        decoded.clear()
        examples = [task.examples.load(index, epoch, step) for index in batch]
        pictures = [task.train.samples[index].images[0] for index in batch]
        assert len(decoded) <= len(set(pictures)) < 8
        assert [example.pictures[0].index for example in examples] == pictures
        for example in examples:
            fresh = task.loader(task.train, data.shorter).load(example.index, epoch, step)
            assert torch.equal(fresh.pictures[0].image, example.pictures[0].image)
    (first, *_) = order.batch(0)[1]
    shape = lambda loader, time: loader.load(first, *time).pictures[0].image.shape
    times = [(epoch, step) for epoch in range(4) for step in range(3)]
    sizes = [shape(task.examples, time) for time in times]
    assert sizes == [shape(task.loader(task.train, data.shorter), time) for time in times]
    assert len(set(sizes)) > 1


def test_held_out_samples_are_of_their_own_split_and_size(build: Build) -> None:
    made = build("vqa")
    data = replace(made.setup.data, shorter=(32,), shorter_held_out=(48,))
    task = made.settings.build(replace(made.setup, data=data))
    for loader, dataset, side in (
        (task.examples, task.train, 32),
        (task.held_out_examples, task.held_out, 48),
    ):
        example = loader.load(1, 0)
        assert example.sample is dataset.samples[1]
        assert min(example.pictures[0].image.shape[1:]) == side
    assert not {*task.held_out.keys()} & {*task.train.keys()}


def test_training_pictures_are_not_measured_on(build: Build) -> None:
    made = build("vqa")
    data = replace(made.setup.data, held_out_split="train+val")
    both = made.settings.build(replace(made.setup, data=data))
    assert both.held_out.keys() == made.held_out.keys()
    assert any(
        "held-out images that are in VQA train too dropped" in n for n in both.held_out.notes
    )


def test_the_papers_training_on_val_is_measured_by_the_server(build: Build) -> None:
    made = build("vqa")
    whole = replace(made.setup.data, train_split="train+val")
    with pytest.raises(
        InputError, match=r"every other picture of VQA minival is in VQA train\+val"
    ):
        made.settings.build(replace(made.setup, data=replace(whole, held_out_split="minival")))
    task = made.settings.build(replace(made.setup, data=replace(whole, held_out_split="test")))
    assert len(task.train) > len(made.train)
    assert {task.truth(question) for question in task.held_out.samples} == {None}


def test_together_is_another_order_with_another_seed_and_epoch(build: Build) -> None:
    """Questions of a picture come together, and pictures at random times."""
    task = build("vqa", keep_together=True)
    pictures = lambda seed, epoch: [
        task.train.samples[i].images[0]
        for i in task.order(SampleOrder(len(task.train), 8, seed=seed)).batch(epoch)[1]
    ]
    steps = len(task.train) // 8
    assert pictures(3, 0) != pictures(4, 0)
    assert pictures(3, 0) != pictures(3, steps)


@pytest.mark.parametrize("name", ["nlvr2", "ve"])
def test_texts_that_are_cut_are_told(build: Build, name: str) -> None:
    made = build(name)
    assert made.notes()["train"] == []
    lengths = [len(made.tokenizer.encode(made.text(s), 99)) for s in made.train.samples]
    for length in (min(lengths), max(lengths) - 1, max(lengths)):
        data = replace(made.setup.data, max_text_length=length)
        task = made.settings.build(replace(made.setup, data=data))
        some = lengths[:: max(1, len(lengths) // 1000)]
        share = sum(n > length for n in some) / len(some)
        told = (
            f"{100 * share:.0f} % of {task.samples} are longer than --data.max-text-length {length}"
        )
        notes = task.notes()["train"]
        assert notes == ([f"{told} and cut"] if share > 0.01 else [])
    assert share == 0
