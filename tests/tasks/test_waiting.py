"""Nothing in a step waits for the device: no value is ever read on the host.

Run on fake tensors, which have shapes and no values: whatever asks for one (`.item()`, boolean
indexing, `nonzero`, an assert on a value) raises.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from vlp_fast.data.examples import Example
from vlp_fast.engine.optim import clip_gradients
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.models.soho import Soho
from vlp_fast.tasks.averages import Averages
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.pretraining.e2e_vlp import E2EVLPPretraining
from vlp_fast.tasks.pretraining.soho import SohoPretraining
from vlp_fast.tasks.pretraining.tagging import Tagging


@pytest.mark.parametrize("training", [True, False])
def test_e2e_vlp(
    e2e_vlp: E2EVLP, e2e_vlp_task: E2EVLPPretraining, examples: list[Example], training: bool
) -> None:
    e2e_vlp.train(training)
    inputs = e2e_vlp_task.collate(examples[:4], BatchKey(e2e_vlp_task.train, 0, 0))
    with FakeTensorMode(allow_non_fake_inputs=True):
        total = e2e_vlp_task.learner(e2e_vlp_task, inputs).total
        assert total.shape == ()
        torch.autograd.grad(total, [p for p in e2e_vlp.parameters() if p.requires_grad])


@pytest.mark.parametrize("training", [True, False])
def test_soho(
    soho: Soho, soho_task: SohoPretraining, examples: list[Example], training: bool
) -> None:
    soho.train(training)
    inputs = soho_task.collate(examples[:4], BatchKey(soho_task.train, 0, 0))
    with FakeTensorMode(allow_non_fake_inputs=True):
        total = soho_task.learner(soho_task, inputs).total
        assert total.shape == ()
        torch.autograd.grad(total, [p for p in soho.parameters() if p.requires_grad])


@pytest.mark.parametrize("name", ["e2e_vlp", "soho"])
def test_tagging(name: str, request: pytest.FixtureRequest, examples: list[Example]) -> None:
    task = request.getfixturevalue(f"{name}_task")
    tagging = Tagging(corruption=task.corruption, model=task.model)
    inputs = tagging.collate(examples[:4], BatchKey(task.train, 0, 0))
    with FakeTensorMode(allow_non_fake_inputs=True):
        total = task.learner(tagging, inputs).total
        assert total.shape == ()
        torch.autograd.grad(total, list(task.model.backbone.parameters()))


def test_what_the_loop_does_with_a_step(
    soho: Soho, soho_task: SohoPretraining, examples: list[Example]
) -> None:
    inputs = soho_task.collate(examples[:4], BatchKey(soho_task.train, 0, 0))
    averages = Averages()
    with FakeTensorMode(allow_non_fake_inputs=True):
        output = soho_task.learner(soho_task, inputs)
        for _ in range(2):
            averages.add_output(output)
        parameters = [p for p in soho.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(output.total, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        total = output.total
        norm, is_finite = clip_gradients(
            parameters, 1.0, scale=torch.ones_like(total), is_finite=total.isfinite()
        )
        averages.add("gradient_norm", norm)
        averages.add("skipped_steps", 1.0 - is_finite.float())


def test_the_method_sees_a_wait() -> None:
    with FakeTensorMode():
        x = torch.randn(4)
        with pytest.raises(DataDependentOutputException):
            x.sum().item()
        with pytest.raises(DynamicOutputShapeException):
            x[x > 0]
