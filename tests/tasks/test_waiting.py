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
from vlp_fast.tasks.pretraining.e2e_vlp import E2EVLPPretraining
from vlp_fast.tasks.pretraining.soho import SohoPretraining
from vlp_fast.tasks.pretraining.tagging import Tagging
from vlp_fast.tasks.pretraining.texts import Corruption


@pytest.mark.parametrize("training", [True, False])
def test_e2e_vlp(
    e2e_vlp: E2EVLP, e2e_vlp_task: E2EVLPPretraining, examples: list[Example], training: bool
) -> None:
    e2e_vlp.train(training)
    inputs = e2e_vlp_task.collate(examples[:4], 0)
    with FakeTensorMode(allow_non_fake_inputs=True):
        total = e2e_vlp_task.forward(e2e_vlp, inputs).total
        assert total.shape == ()
        torch.autograd.grad(total, [p for p in e2e_vlp.parameters() if p.requires_grad])


@pytest.mark.parametrize("training", [True, False])
def test_soho(
    soho: Soho, soho_task: SohoPretraining, examples: list[Example], training: bool
) -> None:
    soho.train(training)
    inputs = soho_task.collate(examples[:4], 0)
    with FakeTensorMode(allow_non_fake_inputs=True):
        total = soho_task.forward(soho, inputs).total
        assert total.shape == ()
        torch.autograd.grad(total, [p for p in soho.parameters() if p.requires_grad])


@pytest.mark.parametrize("name", ["e2e_vlp", "soho"])
def test_tagging(
    name: str, request: pytest.FixtureRequest, corruption: Corruption, examples: list[Example]
) -> None:
    model = request.getfixturevalue(name)
    task = Tagging(corruption=corruption, geometry=model.grid_sizes, pad_multiple=1)
    inputs = task.collate(examples[:4])
    with FakeTensorMode(allow_non_fake_inputs=True):
        total = task.forward(model, inputs).total
        assert total.shape == ()
        torch.autograd.grad(total, list(model.backbone.parameters()))


def test_what_the_loop_does_with_a_step(
    soho: Soho, soho_task: SohoPretraining, examples: list[Example]
) -> None:
    inputs = soho_task.collate(examples[:4], 0)
    averages = Averages()
    with FakeTensorMode(allow_non_fake_inputs=True):
        output = soho_task.forward(soho, inputs)
        for _ in range(2):
            averages.add_output(output)
        parameters = [p for p in soho.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(output.total, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        averages.add("gradient_norm", clip_gradients(parameters, 1.0))


def test_the_method_sees_a_wait() -> None:
    with FakeTensorMode():
        x = torch.randn(4)
        with pytest.raises(DataDependentOutputException):
            x.sum().item()
        with pytest.raises(DynamicOutputShapeException):
            x[x > 0]
