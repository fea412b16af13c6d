"""The CNN's warm-up: binary cross entropy against a loop, gradients in the CNN and the words."""

import torch

from vlp_fast.data.loader import Example
from vlp_fast.models.soho import Soho
from vlp_fast.tasks.soho import SohoPretraining
from vlp_fast.tasks.tagging import tagging_loss


def test_equals_a_loop_over_images(
    soho: Soho, soho_task: SohoPretraining, examples: list[Example]
) -> None:
    soho.eval()
    inputs = soho_task.collate(examples[:5], 0)
    cells = soho.features(inputs.images, inputs.grid, inputs.image_sizes)
    words = soho.text_embeddings.word_embeddings.weight
    bag = inputs.bag_of_words(words.size(0))
    terms = []
    for image in range(5):
        pooled = cells[inputs.grid.image_of == image].amax(0)
        shares = (words @ pooled).double().sigmoid()
        terms.append(-(bag[image] * shares.log() + (1 - bag[image]) * (1 - shares).log()).sum())
    loss = tagging_loss(soho, inputs).losses["tagging"]
    torch.testing.assert_close(loss.double(), torch.stack(terms).mean(), rtol=1e-4, atol=1e-4)


def test_only_cnn_projection_and_words_learn(
    soho: Soho, soho_task: SohoPretraining, examples: list[Example]
) -> None:
    tagging_loss(soho, soho_task.collate(examples[:5], 0)).total.backward()
    learning = {name.split(".")[0] for name, p in soho.named_parameters() if p.grad is not None}
    assert learning == {"backbone", "projection", "text_embeddings"}
    assert all(p.grad is not None for p in soho.backbone.parameters())
    assert not soho.dictionary.cluster_sum.any()
