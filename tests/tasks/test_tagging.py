"""The CNN's warm-up: binary cross entropy against a loop, gradients in the CNN and the words."""

import pytest
import torch

from vlp_fast.data.loader import Example
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.models.soho import Soho
from vlp_fast.tasks.e2e_vlp import E2EVLPPretraining
from vlp_fast.tasks.soho import SohoPretraining
from vlp_fast.tasks.tagging import make_words, tagging_loss

System = tuple[E2EVLP | Soho, E2EVLPPretraining | SohoPretraining]


@pytest.fixture(params=["e2e_vlp", "soho"])
def system(request: pytest.FixtureRequest) -> System:
    name = request.param
    return request.getfixturevalue(name), request.getfixturevalue(f"{name}_task")


def test_equals_a_loop_over_images(system: System, examples: list[Example]) -> None:
    model, task = system
    model.eval()
    inputs = task.collate(examples[:5], 0)
    cells = model.features(inputs.images, inputs.grid, inputs.image_sizes)
    words = model.text_embeddings.word_embeddings.weight
    bag = inputs.own_words.bag(5, words.size(0))
    terms = []
    for image in range(5):
        pooled = cells[inputs.grid.image_of == image].amax(0)
        shares = (words @ pooled).double().sigmoid()
        terms.append(-(bag[image] * shares.log() + (1 - bag[image]) * (1 - shares).log()).sum())
    loss = tagging_loss(model, inputs).losses["tagging"]
    torch.testing.assert_close(loss.double(), torch.stack(terms).mean(), rtol=1e-4, atol=1e-4)


def test_the_bag_holds_words_of_the_images_own_texts_only(
    system: System, examples: list[Example]
) -> None:
    _, task = system
    inputs = task.collate(examples, 0)
    tokenizer = task.corruption.tokenizer
    bag = inputs.own_words.bag(len(examples), tokenizer.vocab_size)
    for example, found in zip(examples, bag, strict=True):
        own = {
            token for text in example.captions for token in task.corruption.ids(text)
        } - tokenizer.special_ids
        listed = set(found.nonzero().flatten().tolist())
        assert listed
        assert listed <= own


def test_words_of_no_text_and_of_several() -> None:
    words = make_words([(0, [2, 7, 8, 3]), (2, [2, 7, 3]), (0, [2, 9, 7, 3])])
    expected = torch.zeros(3, 10)
    expected[0, [7, 8, 9]] = 1.0
    expected[2, 7] = 1.0
    torch.testing.assert_close(words.bag(3, 10), expected)
    assert make_words([]).bag(2, 4).sum() == 0


def test_only_cnn_projection_and_words_learn(system: System, examples: list[Example]) -> None:
    model, task = system
    tagging_loss(model, task.collate(examples[:5], 0)).total.backward()
    learning = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    projection = "projection" if isinstance(model, Soho) else "input_projection"
    assert learning == {"backbone", projection, "text_embeddings"}
    assert all(p.grad is not None for p in model.backbone.parameters())
    if isinstance(model, Soho):
        assert not model.dictionary.cluster_sum.any()
