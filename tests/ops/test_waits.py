"""Definitions serve GPUs where no kernel does, and may not wait for them either.

A fake tensor has a device and a shape but no values: reading one, or a result whose shape depends
on them, is an error.
"""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from vlp_fast.reference import attention


def on_gpu(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="cuda")


def test_values_of_fake_tensors_cannot_be_read() -> None:
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        on_gpu(4, dtype=torch.int32).tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropout_p", [0.0, 0.1])
def test_attention(dtype, causal, dropout_p) -> None:
    with FakeTensorMode():
        q, at = on_gpu(10, 2, 32, dtype=dtype), on_gpu(4, dtype=torch.int32)
        seed = on_gpu(dtype=torch.int64) if dropout_p else None
        options = (at, at, None, 5, 5, causal, 0.2, dropout_p, seed)
        out, lse = attention.attention(q, q, q, *options)
        grads = [torch.empty_like(q) for _ in range(3)]
        attention.attention_backward(out, q, q, q, out, lse, *options, *grads)
    assert out.shape == q.shape and out.dtype == dtype and out.device.type == "cuda"
    assert lse.shape == (2, 10) and lse.device.type == "cuda"
