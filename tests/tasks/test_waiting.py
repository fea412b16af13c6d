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

from vlp_fast.data.loader import Example
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.models.soho import Soho
from vlp_fast.tasks.e2e_vlp import E2EVLPPretraining
from vlp_fast.tasks.soho import SohoPretraining
from vlp_fast.tasks.tagging import tagging_loss


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


def test_tagging(soho: Soho, soho_task: SohoPretraining, examples: list[Example]) -> None:
    inputs = soho_task.collate(examples[:4], 0)
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert tagging_loss(soho, inputs).total.shape == ()


def test_the_method_sees_a_wait() -> None:
    with FakeTensorMode():
        x = torch.randn(4)
        with pytest.raises(DataDependentOutputException):
            x.sum().item()
        with pytest.raises(DynamicOutputShapeException):
            x[x > 0]
