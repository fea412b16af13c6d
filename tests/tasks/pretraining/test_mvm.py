"""Masked codes: the loss and its gradient against an explicit loop."""

import pytest
import torch

from vlp_fast.tasks.pretraining.mvm import masked_code_accuracy, masked_code_loss

CELLS, CODES = 17, 6


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(CELLS, CODES, generator=draw) * 3
    labels = torch.randint(CODES, (CELLS,), generator=draw)
    masked = torch.rand(CELLS, generator=draw) < 0.4
    return logits, labels, masked


def by_loop(logits: torch.Tensor, labels: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    terms = [
        torch.logsumexp(row, 0) - row[label]
        for row, label, hidden in zip(logits, labels.tolist(), masked.tolist(), strict=True)
        if hidden
    ]
    return torch.stack(terms).sum() / len(terms)


def test_equals_a_loop_in_value_and_gradient() -> None:
    logits, labels, masked = inputs()
    assert 2 < masked.sum() < CELLS - 2
    ours, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
    loss, expected = masked_code_loss(ours, labels, masked), by_loop(exact, labels, masked)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=1e-5, atol=1e-7)
    assert not ours.grad[~masked].any()


def test_half_precision_is_summed_in_float32() -> None:
    logits, labels, masked = inputs()
    loss = masked_code_loss(logits.bfloat16(), labels, masked)
    assert loss.dtype == torch.float32
    exact = by_loop(logits.bfloat16().double(), labels, masked)
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=1e-6)


def test_nothing_masked_is_zero_not_nan() -> None:
    logits, labels, masked = inputs()
    logits.requires_grad_()
    loss = masked_code_loss(logits, labels, torch.zeros_like(masked))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("shift", [0, 1])
def test_accuracy_counts_masked_cells_only(shift: int) -> None:
    _, labels, masked = inputs()
    logits = torch.nn.functional.one_hot((labels + shift) % CODES, CODES).float()
    right, count = masked_code_accuracy(logits, labels, masked)
    assert int(count) == int(masked.sum())
    assert int(right) == (int(masked.sum()) if shift == 0 else 0)
