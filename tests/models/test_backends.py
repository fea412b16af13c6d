"""Both models by Triton's programs and PyTorch's kernel: values and all gradients."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from test_number_formats import SOHO, hidden_rows
from tiny_e2e_vlp import TINY, image_only, tiny_model
from torch import Tensor, nn

from vlp_fast import ops
from vlp_fast.models.soho import build_soho

BLOCK = ("attention", "residual_norm", "linear_with_positions", "sum_by_index")


def by_backend(
    backend: str, model: nn.Module, run: Callable[[], list[Tensor]]
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Results of a training step's forward pass, and the gradients of the model's parameters."""
    operators = [name for name in BLOCK if backend in ops.operators()[name].backends]
    if not operators:
        pytest.skip(f"{backend} is not built")
    model.zero_grad()
    torch.manual_seed(3)  # seeds of dropout
    with ops.use("reference", BLOCK), ops.use(backend, operators):
        found = run()
        sum((x * torch.linspace(-1, 1, x.numel()).view_as(x)).sum() for x in found).backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return [x.detach() for x in found], gradients


def assert_same(model: nn.Module, run: Callable[[], list[Tensor]], backend: str) -> None:
    expected, exact = by_backend("reference", model, run)
    found, gradients = by_backend(backend, model, run)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert gradients.keys() == exact.keys()
    largest = max(gradient.abs().max().item() for gradient in exact.values())
    torch.testing.assert_close(gradients, exact, rtol=1e-3, atol=1e-5 * largest)


@pytest.mark.parametrize(("backend", "dropout"), [("triton", 0.1), ("torch", 0.0)])
def test_e2e_vlp(backend, dropout) -> None:
    model = tiny_model(replace(TINY, encoder_layers=1, decoder_layers=1, dropout=dropout))

    def run() -> list[Tensor]:
        found = model.detect(*image_only(model))
        return [found.logits, found.boxes]

    assert_same(model.train(), run, backend)


@pytest.mark.parametrize(("backend", "dropout"), [("triton", 0.1), ("torch", 0.0)])
def test_soho(backend, dropout) -> None:
    model = build_soho(replace(SOHO, dropout=dropout))
    model.dictionary.eval()  # its codes stay where they are
    model.backbone.eval()
    assert_same(model, lambda: [hidden_rows(model)], backend)
