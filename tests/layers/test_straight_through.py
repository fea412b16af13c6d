"""The straight-through estimator and the commitment loss against autograd on their definitions."""

import pytest
import torch
from torch import Tensor

from vlp_fast import VisualDictionary
from vlp_fast.layers.straight_through import commitment_loss, straight_through


def rows_and_codes(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    counts = torch.tensor([True, True, False, True, False])
    rows = torch.randn(5, 3, dtype=dtype).requires_grad_()
    return rows, torch.randn(5, 3, dtype=dtype), counts


def test_value_of_the_codes_and_gradient_of_the_rows() -> None:
    rows, codes, _ = rows_and_codes()
    gradient = torch.randn(5, 3, dtype=torch.float64)
    result = straight_through(rows, codes)
    assert torch.equal(result, codes)
    result.backward(gradient)
    assert torch.equal(rows.grad, gradient)
    assert codes.grad is None


def test_loss_is_the_mean_over_rows_that_count() -> None:
    rows, codes, counts = rows_and_codes()
    again = rows.detach().clone().requires_grad_()
    expected = (again - codes)[counts].square().mean()
    loss = commitment_loss(rows, codes, counts)
    (3 * expected).backward()
    (3 * loss).backward()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(rows.grad, again.grad, rtol=1e-6, atol=0)
    assert (rows.grad[~counts] == 0).all()


def test_rows_that_do_not_count_may_hold_anything() -> None:
    rows, codes, counts = rows_and_codes()
    with torch.no_grad():
        rows[~counts] = torch.tensor([torch.nan, torch.inf, -torch.inf], dtype=torch.float64)
        codes[~counts] = torch.nan
    loss = commitment_loss(rows, codes, counts)
    loss.backward()
    assert loss.isfinite()
    assert rows.grad.isfinite().all()


def test_no_row_that_counts_is_no_loss() -> None:
    rows, codes, counts = rows_and_codes()
    for few in (rows[:0], rows):
        loss = commitment_loss(few, codes[: len(few)], torch.zeros(len(few), dtype=torch.bool))
        assert loss == 0
        (gradient,) = torch.autograd.grad(loss, few)
        assert (gradient == 0).all()
    assert counts.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_subtracted_in_float32(dtype) -> None:
    rows, codes, counts = rows_and_codes(dtype)
    loss = commitment_loss(rows, codes, counts)
    expected = (rows.double() - codes.double())[counts].square().mean()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    loss.backward()
    assert rows.grad.dtype == dtype


@pytest.mark.parametrize("normalize_input", [False, True])
def test_the_dictionarys_loss_pulls_rows_to_codes_and_not_codes_to_rows(normalize_input) -> None:
    dictionary = VisualDictionary(7, 4, normalize_input=normalize_input).eval()
    x = torch.randn(9, 4).requires_grad_()
    valid = torch.arange(9) != 4
    quantised, indices, loss = dictionary.quantise(x, valid)
    assert torch.equal(quantised, dictionary(x, valid)[0])
    rows = torch.nn.functional.layer_norm(x, (4,)) if normalize_input else x
    expected = (rows - dictionary.embed[indices])[valid].square().mean()
    torch.testing.assert_close(loss, expected)
    (wanted,) = torch.autograd.grad(expected, x)
    (found,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(found, wanted)


def test_both_gradients_add_up() -> None:
    dictionary = VisualDictionary(7, 4).eval()
    x = torch.randn(9, 4).requires_grad_()
    quantised, _, loss = dictionary.quantise(x)
    (quantised.sum() + 0.25 * loss).backward()
    torch.testing.assert_close(x.grad, 1 + 0.5 * (x.detach() - quantised.detach()) / x.numel())


def test_a_row_that_is_not_finite_stays_visible() -> None:
    """What guards a training step looks at the loss: a broken row must not look like a code."""
    dictionary = VisualDictionary(3, 2).eval()
    x = torch.tensor([[1.0, 2.0], [torch.nan, 0.0], [torch.inf, 1.0]])
    quantised, indices = dictionary(x)
    assert quantised.isfinite().all(dim=1).tolist() == [True, False, False]
    assert indices[1:].tolist() == [0, 0]
    quantised, _ = dictionary(x, torch.tensor([True, True, False]))
    assert quantised.isfinite().all(dim=1).tolist() == [True, False, True]
