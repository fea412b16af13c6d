"""A step of retrieval: its scores, what is counted, both losses of a batch; nothing waits."""

from typing import Any

import pytest
import torch
from rebuilt import with_settings
from sample_tasks import Build
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.retrieval.circle import circle_loss

COUNT = 5


def batch(task: Any) -> Any:
    examples = [task.examples.load(index, 0) for index in range(COUNT)]
    return task.collate(examples, BatchKey(task.train, 0, 0))


def drawn_scores(inputs: Any) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(inputs.packing.num_sequences, generator=generator)


@pytest.mark.parametrize(
    ("name", "model", "codes"),
    [("binary", "soho", False), ("binary", "soho", True), ("circle", "e2e_vlp", False)],
)
def test_a_step_has_the_scores_of_a_plain_pass(
    build: Build, name: str, model: str, codes: bool
) -> None:
    task: Any = with_settings(build(name, model), codes=codes)
    task.learner.eval()
    inputs = batch(task)
    torch.manual_seed(0)
    with torch.no_grad():  # at its start the head sees hardly a difference
        for parameter in task.learner.model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        seen = task.learner.model.see(inputs.images, inputs.grid, inputs.image_sizes, codes=codes)
        rows = task.learner.model.read(inputs.text_ids, seen, inputs.grid, inputs.packing)
        logits = task.learner.model.match_logits(rows[inputs.packing.first_rows])
        output = task.forward(task.learner, inputs)
    scores = logits[:, 1] - logits[:, 0]
    torch.testing.assert_close(
        output.losses["retrieval"], task.loss(scores, inputs), rtol=1e-4, atol=1e-5
    )
    hits, of = output.counts["retrieval"]
    assert int(of) == 2 * COUNT
    assert int(hits) == found(scores, inputs)
    assert 0 < int(hits) < 2 * COUNT


def found(scores: Tensor, inputs: Any) -> int:
    """Texts whose own picture is the best of theirs, and pictures likewise."""
    count = 0
    for picture, own in enumerate(inputs.own.tolist()):
        for others, is_there in (
            (inputs.other_images, inputs.is_other_image),
            (inputs.other_texts, inputs.is_other_text),
        ):
            rivals = others[picture][is_there[picture]].tolist()
            count += all(scores[own] > scores[rival] for rival in rivals)
    return count


def test_every_pair_of_a_batch_weighs_the_same(build: Build) -> None:
    """Binary cross entropy, 1 for own pairs and 0 for all others."""
    task: Any = build("binary")
    inputs = batch(task)
    scores = drawn_scores(inputs)
    own = set(inputs.own.tolist())
    assert len(scores) > COUNT == len(own)
    parts = [
        functional.softplus(-score if number in own else score)
        for number, score in enumerate(scores)
    ]
    torch.testing.assert_close(task.loss(scores, inputs), torch.stack(parts).mean())


@pytest.mark.parametrize(("images", "texts"), [(2, 3), (0, 3), (2, 0)])
def test_circle_losses_are_the_mean_of_both_kinds(build: Build, images: int, texts: int) -> None:
    kinds = {"image_negatives": images, "text_negatives": texts}
    task: Any = build("circle", margin=0.2, scale=8.0, **kinds)
    inputs = batch(task)
    scores = drawn_scores(inputs)
    positive = scores[inputs.own].sigmoid()
    parts = []
    for others, is_there in (
        (inputs.other_images, inputs.is_other_image),
        (inputs.other_texts, inputs.is_other_text),
    ):
        if others.shape[1]:
            of_each = [
                circle_loss(p[None], scores[row][there].sigmoid()[None], margin=0.2, scale=8.0)
                for p, row, there in zip(positive, others, is_there, strict=True)
            ]
            parts.append(torch.stack(of_each).mean())
    assert len(parts) == bool(images) + bool(texts)
    torch.testing.assert_close(task.loss(scores, inputs), torch.stack(parts).mean())


@pytest.mark.parametrize(("name", "model"), [("binary", "soho"), ("circle", "e2e_vlp")])
def test_a_step_waits_for_nothing(build: Build, name: str, model: str) -> None:
    task: Any = build(name, model)
    task.learner.train()
    inputs = batch(task)
    with FakeTensorMode(allow_non_fake_inputs=True):
        total = task.learner(task, inputs).total
        assert total.shape == ()
        parameters = [p for n, p in task.learner.model.named_parameters() if "match" in n]
        assert torch.autograd.grad(total, parameters)
