"""The state of VectorQuantize under what other people's code does to a layer."""

import warnings
from typing import Any

import pytest
import torch

import vlp_fast


def test_rows_whose_sum_overflows_leave_the_codes_alone() -> None:
    layer = vlp_fast.VectorQuantize(4, 8)
    for x in (torch.full((50, 4), 3e38), torch.randn(50, 4)):
        layer(x)
    assert all(buffer.isfinite().all() for buffer in layer._codebook.buffers())


def test_k_means_leaves_out_rows_whose_sum_overflows() -> None:
    layer = vlp_fast.VectorQuantize(4, 8, kmeans_init=True)
    x = torch.cat([torch.randn(50, 4), torch.full((4, 4), 3e38)])
    with pytest.warns(RuntimeWarning, match="received 54 rows, 4 of them"):
        layer(x)
    layer(x)
    assert layer.codebook.abs().max() < 10


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_is_float32_under_another_default_dtype(training: bool) -> None:
    layer = vlp_fast.VectorQuantize(4, 8).train(training)
    torch.set_default_dtype(torch.float64)
    try:
        loss = layer(torch.randn(5, 4, dtype=torch.float32))[2]
    finally:
        torch.set_default_dtype(torch.float32)
    assert loss.dtype == torch.float32


def test_codes_that_are_set_bring_no_gradient() -> None:
    layer = vlp_fast.VectorQuantize(4, 8)
    codes = torch.randn(8, 4, requires_grad=True)
    layer.codebook = codes
    assert torch.equal(layer.codebook, codes) and not layer.codebook.requires_grad


@pytest.mark.parametrize("options", [{}, {"threshold_ema_dead_code": 3}, {"kmeans_init": True}])
def test_rows_beyond_float32_are_not_finite(options: dict[str, Any]) -> None:
    layer = vlp_fast.VectorQuantize(4, 8, **options)
    x = torch.randn(20, 4, dtype=torch.float64)
    x[10:] = 1e300
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of k-means alone
        quantised = layer(x)[0]
    assert quantised[:10].isfinite().all() and quantised[10:].isnan().all()
    assert all(buffer.isfinite().all() for buffer in layer._codebook.buffers())
