"""The CNN's warm-up: binary cross entropy against a loop, gradients in the CNN and the words."""

from dataclasses import replace

import pytest
import torch
from rebuilt import with_settings

from vlp_fast.data.examples import Example
from vlp_fast.data.records import Dataset
from vlp_fast.models.soho import Soho
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.pretraining.pretraining import Pretraining
from vlp_fast.tasks.pretraining.tagging import Tagging, TaggingInputs
from vlp_fast.tasks.task import Learner

System = tuple[Learner, Tagging]


@pytest.fixture(params=["e2e_vlp", "soho"])
def task(request: pytest.FixtureRequest) -> Pretraining:
    built: Pretraining = with_settings(
        request.getfixturevalue(f"{request.param}_task"), tagging_steps=60
    )
    return built


@pytest.fixture
def system(task: Pretraining) -> System:
    tagging = task.stages()[0].objective
    assert isinstance(tagging, Tagging)
    return task.learner, tagging


def batch(tagging: Tagging, examples: list[Example]) -> TaggingInputs:
    empty = Dataset(name="none", records=(), class_names=(), attribute_names=())
    return tagging.collate(examples, BatchKey(empty, 0, 0))


def test_it_comes_first_where_it_is_asked_for(task: Pretraining) -> None:
    first, last = task.stages()
    assert (first.steps, first.option) == (60, "--task.tagging-steps")
    assert (last.objective, last.steps) == (task, None)
    (only,) = with_settings(task, tagging_steps=0).stages()
    assert not isinstance(only.objective, Tagging)


def test_equals_a_loop_over_images(system: System, examples: list[Example]) -> None:
    learner, task = system
    learner.eval()
    model = learner.model
    inputs = batch(task, examples[:5])
    cells = model.features(inputs.images, inputs.grid, inputs.image_sizes)
    words = model.text_embeddings.word_embeddings.weight
    bag = inputs.bag(words.size(0))
    terms = []
    for image in range(5):
        pooled = cells[inputs.grid.image_of == image].amax(0)
        shares = (words @ pooled).double().sigmoid()
        terms.append(-(bag[image] * shares.log() + (1 - bag[image]) * (1 - shares).log()).sum())
    loss = learner(task, inputs).losses["tagging"]
    torch.testing.assert_close(loss.double(), torch.stack(terms).mean(), rtol=1e-4, atol=1e-4)


def test_the_bag_holds_the_words_of_all_captions(system: System, examples: list[Example]) -> None:
    _, task = system
    tokenizer = task.corruption.tokenizer
    silent = replace(examples[0], captions=("",))
    bag = batch(task, [*examples, silent]).bag(tokenizer.vocab_size)
    assert set(bag.unique().tolist()) == {0.0, 1.0}
    for example, found in zip([*examples, silent], bag, strict=True):
        ids = {token for text in example.captions for token in task.corruption.ids(text)}
        assert set(found.nonzero().flatten().tolist()) == ids - tokenizer.special_ids


def test_only_cnn_projection_and_words_learn(system: System, examples: list[Example]) -> None:
    learner, task = system
    model = learner.model
    learner(task, batch(task, examples[:5])).total.backward()
    learning = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    projection = "projection" if isinstance(model, Soho) else "input_projection"
    assert learning == {"backbone", projection, "text_embeddings"}
    assert all(p.grad is not None for p in model.backbone.parameters())
    if isinstance(model, Soho):
        assert not model.dictionary.cluster_sum.any()
