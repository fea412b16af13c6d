"""The CNN's warm-up: binary cross entropy against a loop, gradients in the CNN and the words."""

from dataclasses import replace

import pytest
import torch

from vlp_fast.data.examples import Example
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.models.soho import Soho
from vlp_fast.tasks.pretraining.tagging import Tagging
from vlp_fast.tasks.pretraining.texts import Corruption

System = tuple[E2EVLP | Soho, Tagging]


@pytest.fixture(params=["e2e_vlp", "soho"])
def system(request: pytest.FixtureRequest, corruption: Corruption) -> System:
    model = request.getfixturevalue(request.param)
    return model, Tagging(corruption=corruption, geometry=model.grid_sizes, pad_multiple=1)


def test_equals_a_loop_over_images(system: System, examples: list[Example]) -> None:
    model, task = system
    model.eval()
    inputs = task.collate(examples[:5])
    cells = model.features(inputs.images, inputs.grid, inputs.image_sizes)
    words = model.text_embeddings.word_embeddings.weight
    bag = inputs.bag(words.size(0))
    terms = []
    for image in range(5):
        pooled = cells[inputs.grid.image_of == image].amax(0)
        shares = (words @ pooled).double().sigmoid()
        terms.append(-(bag[image] * shares.log() + (1 - bag[image]) * (1 - shares).log()).sum())
    loss = task.forward(model, inputs).losses["tagging"]
    torch.testing.assert_close(loss.double(), torch.stack(terms).mean(), rtol=1e-4, atol=1e-4)


def test_the_bag_holds_the_words_of_all_captions(system: System, examples: list[Example]) -> None:
    _, task = system
    tokenizer = task.corruption.tokenizer
    silent = replace(examples[0], captions=("",))
    bag = task.collate([*examples, silent]).bag(tokenizer.vocab_size)
    assert set(bag.unique().tolist()) == {0.0, 1.0}
    for example, found in zip([*examples, silent], bag, strict=True):
        ids = {token for text in example.captions for token in task.corruption.ids(text)}
        assert set(found.nonzero().flatten().tolist()) == ids - tokenizer.special_ids


def test_only_cnn_projection_and_words_learn(system: System, examples: list[Example]) -> None:
    model, task = system
    task.forward(model, task.collate(examples[:5])).total.backward()
    learning = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    projection = "projection" if isinstance(model, Soho) else "input_projection"
    assert learning == {"backbone", projection, "text_embeddings"}
    assert all(p.grad is not None for p in model.backbone.parameters())
    if isinstance(model, Soho):
        assert not model.dictionary.cluster_sum.any()
