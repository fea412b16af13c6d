"""Own and foreign pairs: which there are, which are left out because they are true."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sample_tasks import Build

from vlp_fast.data.records import Dataset
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.retrieval.pairing import Pairing, every_pair, own_caption, sampled_pairs
from vlp_fast.tasks.retrieval.retrieval import Retrieval, RetrievalInputs

SEED = 11


def shown(task: Any, *indices: int) -> list[Any]:
    return [task.examples.load(index, 0) for index in indices]


def unknowing(dataset: Dataset) -> Dataset:
    """The same data set, as one that does not know what is true of its pictures."""
    return replace(dataset, describes=None)


def pairing(task: Any, examples: list[Any], *, epoch: int = 0, knows: bool = False) -> Pairing:
    dataset = task.train if knows else unknowing(task.train)
    return Pairing(examples, BatchKey(dataset, epoch, 0), task.encode, seed=SEED)


@pytest.fixture(scope="module")
def task(build: Build) -> Any:
    return build("binary")


def test_every_picture_meets_every_text(task: Any) -> None:
    examples = shown(task, *range(6))
    drawn = pairing(task, examples)
    pairs = every_pair(drawn)
    ids = [tuple(own) for own in drawn.ids]
    assert len(set(ids)) == 6
    met = list(zip(pairs.image_of, map(tuple, pairs.texts), strict=True))
    assert sorted(met) == sorted((image, text) for image in range(6) for text in ids)
    assert [met[number] for number in pairs.own] == list(enumerate(ids))
    for image in range(6):
        assert {met[n] for n in pairs.other_images[image]} == {
            (other, ids[image]) for other in range(6) if other != image
        }
        assert {met[n] for n in pairs.other_texts[image]} == {
            (image, ids[other]) for other in range(6) if other != image
        }


def test_one_caption_of_two_pictures_is_foreign_to_neither(task: Any) -> None:
    """Nor is one that differs in case or spaces, which the model cannot tell apart."""
    examples = shown(task, 0, 1, 2)
    first, second, third = examples
    same = (f"{first.captions[0].upper()}  ",)
    examples = [replace(first, captions=first.captions[:1]), replace(second, captions=same), third]
    pairs = every_pair(pairing(task, examples))
    assert len(pairs.texts) == 9 - 2
    assert [len(numbers) for numbers in pairs.other_images] == [1, 1, 2]
    assert [len(numbers) for numbers in pairs.other_texts] == [1, 1, 2]


def test_a_picture_that_is_shown_twice_has_no_quarrel_with_itself(task: Any) -> None:
    """As where another one is broken: both have captions of the same picture."""
    example = shown(task, 0)[0]
    pairs = every_pair(pairing(task, [example, example]))
    assert len(pairs.texts) == 2
    assert pairs.other_texts == pairs.other_images == [[], []]


def test_what_is_known_to_be_true_is_not_held_against_the_model(task: Any) -> None:
    """The drawn world knows; ten captions of its pictures are true of many others."""
    examples = shown(task, *range(20))
    drawn = pairing(task, examples, knows=True)
    pairs = every_pair(drawn)
    describes = task.train.describes
    expected = {
        (image, text)
        for image in range(20)
        for text in range(20)
        if image == text or not describes(examples[image].index, drawn.captions[text])
    }
    assert len(pairs.texts) == len(expected) < 400
    sampled = sampled_pairs(drawn, images=8, texts=8, seed=SEED, epoch=0)
    for own, others in zip(sampled.own, sampled.other_texts, strict=True):
        image = sampled.image_of[own]
        for number in others:
            text = task.tokenizer.decode(sampled.texts[number])
            assert not describes(examples[image].index, text)


def test_sampled_pairs_are_of_one_text_or_one_picture(task: Any) -> None:
    examples = shown(task, *range(7))
    drawn = pairing(task, examples)
    pairs = sampled_pairs(drawn, images=4, texts=5, seed=SEED, epoch=0)
    assert len(pairs.texts) == 7 * (1 + 4 + 5)
    for image in range(7):
        assert pairs.image_of[pairs.own[image]] == image
        assert pairs.texts[pairs.own[image]] == drawn.ids[image]
        pictures = [pairs.image_of[n] for n in pairs.other_images[image]]
        assert len({*pictures} - {image}) == 4
        assert all(pairs.texts[n] == drawn.ids[image] for n in pairs.other_images[image])
        texts = {tuple(pairs.texts[n]) for n in pairs.other_texts[image]}
        assert len(texts) == 5
        assert {pairs.image_of[n] for n in pairs.other_texts[image]} == {image}
        assert texts.isdisjoint(tuple(task.encode(c)) for c in examples[image].captions)
    again, other = (
        sampled_pairs(drawn, images=4, texts=5, seed=SEED, epoch=epoch) for epoch in (0, 1)
    )
    assert (again.texts, again.image_of) == (pairs.texts, pairs.image_of)
    assert other.image_of != pairs.image_of
    assert other.texts != pairs.texts


def test_there_are_fewer_where_a_batch_or_a_data_set_has_fewer(task: Any) -> None:
    examples = shown(task, 0, 1)
    drawn = pairing(task, examples)
    pairs = sampled_pairs(drawn, images=10, texts=0, seed=SEED, epoch=0)
    assert [len(numbers) for numbers in pairs.other_images] == [1, 1]
    assert pairs.other_texts == [[], []]
    few = replace(unknowing(task.train), records=(task.train.records[0], task.train.records[1]))
    drawn = Pairing(examples, BatchKey(few, 0, 0), task.encode, seed=SEED)
    pairs = sampled_pairs(drawn, images=0, texts=50, seed=SEED, epoch=0)
    other = {tuple(task.encode(caption)) for caption in examples[1].captions}
    assert 1 < len(pairs.other_texts[0]) <= len(other)
    alone = Pairing(examples[:1], BatchKey(replace(few, records=few.records[:1]), 0, 0),
                    task.encode, seed=SEED)  # fmt: skip
    assert every_pair(alone).texts == alone.ids
    assert sampled_pairs(alone, images=3, texts=3, seed=SEED, epoch=0).texts == alone.ids


def test_each_caption_is_drawn_once_in_as_many_epochs(task: Any) -> None:
    (example,) = shown(task, 3)
    count = len(example.captions)
    assert count > 3
    rounds = [
        [own_caption(example, epoch, SEED) for epoch in range(start, start + count)]
        for start in (0, count, 2 * count)
    ]
    for drawn in rounds:
        assert sorted(drawn) == sorted(example.captions)
    assert rounds[0] != rounds[1] or rounds[1] != rounds[2]


@pytest.mark.parametrize("name", ["binary", "circle"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_batch_is_a_pure_function_and_its_numbers_are_of_its_sequences(
    build: Build, name: str, count: int
) -> None:
    made: Any = build(name)
    assert isinstance(made, Retrieval)
    examples = shown(made, *range(count))
    key = BatchKey(made.train, 3, 7)
    inputs = made.collate(examples, key)
    again = made.collate(examples, key)
    assert torch.equal(inputs.text_ids, again.text_ids)
    check_numbers(inputs)
    output = made.forward(made.learner, inputs)
    assert output.total.isfinite()
    output.total.backward()
    hits, of = output.counts["retrieval"]
    assert 0 <= int(hits) <= int(of) == 2 * count


def check_numbers(inputs: RetrievalInputs) -> None:
    own = inputs.own.tolist()
    image_of = np.array(inputs.packing.image_of)
    assert image_of[own].tolist() == list(range(len(own)))
    for others, is_there in (
        (inputs.other_images, inputs.is_other_image),
        (inputs.other_texts, inputs.is_other_text),
    ):
        assert others.shape == is_there.shape
        assert not set(others[is_there].tolist()) & set(own)
    owners = torch.arange(len(own))[:, None].expand_as(inputs.other_texts)
    texts = inputs.other_texts[inputs.is_other_text]
    assert image_of[texts].tolist() == owners[inputs.is_other_text].tolist()


@pytest.fixture(scope="module")
def nearly(task: Any) -> Pairing:
    """Three pictures, and texts that are nearly theirs, one of which is true of all."""
    own = ("a red star", "two blue squares", "a tree")
    others = ("a red circle", "a blue star", "a red Star", "the red star", "two red squares")
    examples = [
        replace(example, captions=(text,))
        for example, text in zip(shown(task, 0, 1, 2), own, strict=True)
    ]
    records = [
        replace(record, captions=(text,))
        for record, text in zip(task.train.records, others, strict=False)
    ]

    def describes(index: int, text: str) -> bool:
        return text == "the red star"

    dataset = replace(task.train, records=tuple(records), describes=describes)
    return Pairing(examples, BatchKey(dataset, 0, 0), task.encode, seed=SEED)


def test_hard_texts_stand_beside_every_pair(nearly: Pairing) -> None:
    """Nearly the own text, foreign and not known to be true, as many as there are."""
    plain, pairs = every_pair(nearly), every_pair(nearly, hard_texts=5, seed=SEED)
    assert pairs.texts[: len(plain.texts)] == plain.texts
    assert pairs.other_images == plain.other_images
    extra = [
        sorted(pairs.texts[n] for n in numbers if n >= len(plain.texts))
        for numbers in pairs.other_texts
    ]
    first = sorted(map(nearly.encode, ("a red circle", "a blue star")))
    assert extra == [first, [nearly.encode("two red squares")], []]
    assert pairs.image_of[len(plain.texts) :] == [0, 0, 1]
    fewer = every_pair(nearly, hard_texts=1, seed=SEED)
    assert len(fewer.texts) == len(plain.texts) + 2


def test_hard_texts_are_the_first_of_the_sampled_ones(nearly: Pairing) -> None:
    pairs = sampled_pairs(nearly, images=0, texts=3, hard_texts=1, seed=SEED, epoch=0)
    texts = [[pairs.texts[n] for n in numbers] for numbers in pairs.other_texts]
    assert texts[0][0] in [nearly.encode(t) for t in ("a red circle", "a blue star")]
    assert texts[1][0] == nearly.encode("two red squares")
    for own in texts:
        assert len({*map(tuple, own)}) == len(own) <= 3
    assert len(texts[0]) == 3


def test_a_task_of_all_pairs_asks_for_hard_texts(build: Build) -> None:
    """Each behind the pairs of the batch, one word from the picture's own text."""
    task, plain = build("binary", hard_texts=2), build("binary")
    batch, few = (t.collate(shown(t, *range(8)), BatchKey(t.train, 0, 0)) for t in (task, plain))
    texts = Pairing(shown(task, *range(8)), BatchKey(task.train, 0, 0), task.encode, seed=SEED)
    near = [list(task.train.near_texts.drawn(c, np.random.default_rng(0))) for c in texts.captions]
    assert sum(map(bool, near)) > 3
    added = batch.is_other_text.sum(1) - few.is_other_text.sum(1)
    assert all(count <= min(2, len(one)) for count, one in zip(added.tolist(), near, strict=True))
    assert added.sum() > 3


def test_a_task_of_sampled_pairs_asks_for_hard_texts(build: Build) -> None:
    task, plain = build("circle", hard_texts=2), build("circle")
    batch, other = (t.collate(shown(t, *range(8)), BatchKey(t.train, 0, 0)) for t in (task, plain))
    assert batch.is_other_text.sum() == other.is_other_text.sum()
    assert not torch.equal(batch.text_ids, other.text_ids)
