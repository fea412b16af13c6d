"""What objectives share: float32 losses, no NaN over nothing, the sum as the total."""

import math

import pytest
import torch

from vlp_fast.tasks.step import StepOutput, accuracy, mean_cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_a_loop(smoothing: float) -> None:
    logits = torch.randn(9, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    targets = torch.arange(9) % 5
    total = 0.0
    for row, target in zip(logits.double(), targets.tolist(), strict=True):
        shares = [smoothing / 5 + (1 - smoothing) * (k == target) for k in range(5)]
        total -= sum(s * float(row.log_softmax(0)[k]) for k, s in enumerate(shares))
    loss = mean_cross_entropy(logits, targets, label_smoothing=smoothing)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(total / 9, rel=1e-6)


def test_no_rows_are_zero_with_a_zero_gradient() -> None:
    logits = torch.zeros(0, 5, requires_grad=True)
    loss = mean_cross_entropy(logits, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None


def test_accuracy_is_a_pair_of_counts() -> None:
    logits = torch.eye(4)[[0, 1, 2, 0]]
    right, count = accuracy(logits, torch.tensor([0, 1, 3, 3]))
    assert (int(right), int(count)) == (2, 4)


def test_the_total_is_the_unweighted_sum_in_float32() -> None:
    losses = {"a": torch.tensor(1.5, dtype=torch.bfloat16), "b": torch.tensor(1e-3)}
    output = StepOutput(losses=losses, parts={"inside_a": torch.tensor(100.0)})
    assert output.total.dtype == torch.float32
    assert math.isclose(float(output.total), 1.501, rel_tol=1e-6)
