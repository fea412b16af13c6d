"""The rotation trick, twice differentiated, beside vector-quantize-pytorch's."""

import pytest
import torch
import vector_quantize_pytorch
from vector_quantize_pytorch.vector_quantize_pytorch import rotate_to as theirs

import vlp_fast
from vlp_fast.layers.rotation_trick import rotate_to


def test_second_derivatives_are_the_packages() -> None:
    rows, codes = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64)
    weights = torch.randn(7, 5, dtype=torch.float64)
    found = []
    for turn in (theirs, rotate_to):
        x = rows.clone().requires_grad_()
        (first,) = torch.autograd.grad(turn(x, codes).pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((first * weights).sum(), x, create_graph=True)
        (third,) = torch.autograd.grad(second.pow(2).sum(), x)
        found.append((first, second, third))
    for mine, other in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("rotation_trick", [True, False])
def test_second_derivatives_of_a_layer_are_the_packages(rotation_trick) -> None:
    x, found, state = torch.randn(1, 9, 8), [], None
    for make in (vector_quantize_pytorch.VectorQuantize, vlp_fast.VectorQuantize):
        quantizer = make(8, 16, rotation_trick=rotation_trick)
        if state is not None:
            quantizer.load_state_dict(state)
        state = {name: value.clone() for name, value in quantizer.state_dict().items()}
        leaf = x.clone().requires_grad_()
        quantised, _, loss = quantizer(leaf)
        objective = quantised.pow(3).sum() + 5 * loss.sum()
        (first,) = torch.autograd.grad(objective, leaf, create_graph=True)
        (second,) = torch.autograd.grad(first.pow(2).sum(), leaf)
        found.append((first, second))
    for mine, other in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)
