"""Which number format `auto` picks, by device and capability."""

import pytest
import torch

from vlp_fast.engine.config import TrainConfig
from vlp_fast.engine.precision import choose_precision
from vlp_fast.errors import InputError


def machine(
    monkeypatch: pytest.MonkeyPatch,
    *,
    capability: tuple[int, int] | None = None,
    avx512: bool = False,
    amx: bool = False,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)


@pytest.mark.parametrize(
    ("capability", "avx512", "amx", "device", "dtype"),
    [
        ((7, 0), False, False, "cuda", torch.float16),
        ((7, 5), True, True, "cuda", torch.float16),
        ((8, 0), False, False, "cuda", torch.bfloat16),
        ((9, 0), False, False, "cuda", torch.bfloat16),
        ((12, 0), False, False, "cuda", torch.bfloat16),
        (None, False, False, "cpu", torch.float32),
        (None, True, False, "cpu", torch.bfloat16),
        (None, False, True, "cpu", torch.bfloat16),
    ],
)
def test_auto(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int] | None,
    avx512: bool,
    amx: bool,
    device: str,
    dtype: torch.dtype,
) -> None:
    machine(monkeypatch, capability=capability, avx512=avx512, amx=amx)
    chosen = choose_precision(TrainConfig())
    assert (chosen.device.type, chosen.dtype) == (device, dtype)


def test_the_cpu_can_be_asked_for_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, capability=(7, 0))
    chosen = choose_precision(TrainConfig(device="cpu"))
    assert (chosen.device.type, chosen.dtype) == ("cpu", torch.float32)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_a_named_precision_is_taken(name: str, dtype: torch.dtype) -> None:
    config = TrainConfig(device="cpu", precision=name)  # type: ignore[arg-type]
    precision = choose_precision(config)
    assert precision.dtype == dtype
    x = torch.randn(4, 4)
    with precision.autocast():
        assert (x @ x).dtype == dtype


def test_a_gpu_that_is_not_there_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    with pytest.raises(InputError, match=r"--train\.device cuda"):
        choose_precision(TrainConfig(device="cuda"))


@pytest.mark.parametrize("name", ["fp32", "fp16"])
def test_a_step_with_non_finite_gradients_is_skipped(name: str) -> None:
    config = TrainConfig(device="cpu", precision=name)  # type: ignore[arg-type]
    scaler = choose_precision(config).scaler()
    assert scaler.get_scale() == (65536.0 if name == "fp16" else 1.0)
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    for gradient, changes in ((torch.inf, False), (1.0, True)):
        before = weight.detach().clone()
        scaler.scale((weight * gradient).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        assert torch.equal(weight.detach(), before) is not changes
