"""Memory of a call at its peak, on what is known to take some."""

import gc

import pytest
import torch
from torch import Tensor

from vlp_fast.benchmarks import memory
from vlp_fast.benchmarks.memory import extra_memory

MIB = 2**20
NEEDS_LINUX = pytest.mark.skipif(
    not memory.RESET.exists(), reason="the system does not tell a process's peak"
)


def block(mib: int, device: str = "cpu") -> Tensor:
    return torch.ones(mib * MIB // 4, device=device)


def one_after_the_other(device: str = "cpu") -> Tensor:
    block(48, device)
    return block(48, device)


def at_once(device: str = "cpu") -> Tensor:
    return block(48, device) + 1


def many_small(device: str = "cpu") -> list[Tensor]:
    return [torch.ones(2**14, device=device) for _ in range(16 * 48)]


def nothing(device: str = "cpu") -> None:
    gc.collect()


CALLS = [(one_after_the_other, 48), (at_once, 96), (many_small, 48), (nothing, 0)]


@NEEDS_LINUX
@pytest.mark.parametrize(("call", "mib"), CALLS)
def test_the_peak_counts(call: object, mib: int) -> None:
    kept = block(64)  # what is there before does not
    for _ in range(2):
        call()
    for _ in range(3):
        found = extra_memory(call, "cpu")
        assert found == pytest.approx(mib * MIB, abs=3 * MIB)
    assert len(kept)


@NEEDS_LINUX
def test_an_error_of_the_call_is_seen() -> None:
    def broken() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        extra_memory(broken, "cpu")


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(memory, "RESET", memory.Path("/nowhere/clear_refs"))
    assert extra_memory(lambda: calls.append(1), "cpu") is None
    assert calls == [1]


@pytest.mark.gpu
@pytest.mark.parametrize(("call", "mib"), CALLS)
def test_the_peak_counts_on_a_gpu(call: object, mib: int) -> None:
    kept = block(64, "cuda")
    assert extra_memory(lambda: call("cuda"), "cuda") == pytest.approx(mib * MIB, abs=MIB)
    assert len(kept)
