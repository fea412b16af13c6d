"""Circle loss: known values, gradients with detached weights, number formats, missing pairs."""

import pytest
import torch
from torch import Tensor

from vlp_fast.tasks.retrieval.circle import circle_loss

MARGIN, SCALE = 0.3, 32.0


def by_product(positive: Tensor, negative: Tensor) -> Tensor:
    """The formula of one true pair as it is printed, weights without gradient; float64."""
    weight_p = torch.relu(1 + MARGIN - positive).detach()
    weight_n = torch.relu(negative + MARGIN).detach()
    of_negatives = torch.exp(SCALE * weight_n * (negative - MARGIN)).sum()
    of_positive = torch.exp(-SCALE * weight_p * (positive - (1 - MARGIN)))
    return torch.log(1 + of_negatives * of_positive)


@pytest.mark.parametrize(
    ("positive", "negative", "value"),
    [(0.5, 0.5, 12.543), (0.7, 0.3, 2.398), (0.9, 0.1, 0.0580), (0.1, 0.9, 48.38)],
)
def test_known_values_among_ten_foreign_pairs(
    positive: float, negative: float, value: float
) -> None:
    found = circle_loss(torch.tensor([positive]), torch.full((1, 10), negative))
    assert float(found) == pytest.approx(value, rel=1e-3)


def test_the_known_gradient_of_the_true_pair() -> None:
    positive = torch.full((1,), 0.5, dtype=torch.float64, requires_grad=True)
    circle_loss(positive, torch.full((1, 10), 0.5, dtype=torch.float64)).backward()
    assert positive.grad is not None
    assert float(positive.grad) == pytest.approx(-25.6, rel=1e-5)


def test_values_and_gradients_are_the_formulas() -> None:
    generator = torch.Generator().manual_seed(1)
    positive = torch.rand(6, generator=generator, dtype=torch.float64).requires_grad_()
    negative = torch.rand(6, 5, generator=generator, dtype=torch.float64).requires_grad_()
    is_there = torch.rand(6, 5, generator=generator) < 0.7
    is_there[2] = False
    found = circle_loss(positive, negative, is_there)
    rows = zip(positive, negative, is_there, strict=True)
    expected = torch.stack([by_product(p, n[there]) for p, n, there in rows]).mean()
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found, (positive, negative)),
        torch.autograd.grad(expected, (positive, negative)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
        assert one.abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("positive", "negative"), [(0.0, 1.0), (1.0, 0.0), (0.5, 0.5)])
def test_all_number_formats_are_finite(
    dtype: torch.dtype, positive: float, negative: float
) -> None:
    """As a product of exponentials it would be e^66 in the worst case."""
    p = torch.full((3,), positive, dtype=dtype, requires_grad=True)
    n = torch.full((3, 20), negative, dtype=dtype, requires_grad=True)
    loss = circle_loss(p, n)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert p.grad is not None
    assert n.grad is not None
    assert p.grad.isfinite().all()
    assert n.grad.isfinite().all()


@pytest.mark.parametrize("columns", [0, 4])
def test_a_pair_without_foreign_ones_adds_nothing(columns: int) -> None:
    positive = torch.tensor([0.2, 0.4], requires_grad=True)
    negative = torch.full((2, columns), 0.9, requires_grad=True)
    loss = circle_loss(positive, negative, torch.zeros(2, columns, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0
    assert positive.grad is not None
    assert positive.grad.tolist() == [0, 0]


def test_other_margins_and_scales_are_used() -> None:
    """At a margin of 0 and a scale of 1 the weights are 1 - s and s."""
    p, n = torch.tensor([0.4]), torch.tensor([[0.6]])
    expected = torch.log1p(torch.exp(0.6 * n) * torch.exp(-0.6 * (p - 1)))
    torch.testing.assert_close(circle_loss(p, n, margin=0.0, scale=1.0), expected.mean())
