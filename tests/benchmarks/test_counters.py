"""Compilations, waits, memory and other load are counted, with stand-ins for the GPU's."""

import gc
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vlp_fast.benchmarks import counters
from vlp_fast.benchmarks.counters import (
    CompilationCounter,
    OtherLoad,
    count_synchronisations,
    extra_memory,
)

MIB = 2**20
NEEDS_LINUX = pytest.mark.skipif(
    not counters.RESET.exists(), reason="the system does not tell a process's peak"
)


def test_graphs_are_counted() -> None:
    torch._dynamo.reset()
    doubled = torch.compile(lambda x: 2 * x, backend="eager", dynamic=False)
    counter = CompilationCounter()
    for length in (3, 3, 4):
        counter.watch(lambda length=length: doubled(torch.ones(length)))()
    assert counter.count == 2


def test_triton_reports_what_it_compiles_while_watched() -> None:
    knobs = pytest.importorskip("triton").knobs
    before = knobs.runtime.jit_post_compile_hook
    counter = CompilationCounter()

    def compiles(times: int) -> str:
        for _ in range(times):
            knobs.runtime.jit_post_compile_hook(key="k", fn="f", compile={}, already_compiled=False)
        return "done"

    assert counter.watch(lambda: compiles(2))() == "done"
    counter.watch(lambda: compiles(1))()
    assert counter.count == 3
    with pytest.raises(ZeroDivisionError):
        counter.watch(lambda: 1 / 0)()
    assert knobs.runtime.jit_post_compile_hook is before


def test_waits_are_the_warnings_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[object] = []
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def run() -> None:
        assert modes == ["warn"]
        for _ in range(3):  # the same line counts each time
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("something else", stacklevel=1)

    assert count_synchronisations(run) == 3
    assert modes == ["warn", 0]
    modes.clear()
    with pytest.raises(ZeroDivisionError):
        count_synchronisations(lambda: 1 // 0)
    assert modes == ["warn", 0]


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
    found = extra_memory(call, "cpu")
    assert found == pytest.approx(mib * MIB, abs=3 * MIB)
    assert len(kept)


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(counters, "RESET", Path("/nowhere/clear_refs"))
    assert extra_memory(lambda: calls.append(1), "cpu") is None
    assert calls == [1]
    monkeypatch.setattr(counters, "STATISTICS", Path("/nowhere/stat"))
    assert OtherLoad().share() is None


@pytest.mark.gpu
@pytest.mark.parametrize(("call", "mib"), CALLS)
def test_the_peak_counts_on_a_gpu(call: object, mib: int) -> None:
    kept = block(64, "cuda")
    assert extra_memory(lambda: call("cuda"), "cuda") == pytest.approx(mib * MIB, abs=MIB)
    assert len(kept)


def test_the_share_is_of_what_others_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = tmp_path / "stat"
    monkeypatch.setattr(counters, "STATISTICS", statistics)
    monkeypatch.setattr(counters.os, "sysconf", lambda _: 100)
    own = iter([(1.0, 0.5, 0.0, 0.0, 0.0), (3.0, 0.5, 1.0, 0.0, 0.0)])
    monkeypatch.setattr(counters.os, "times", lambda: next(own))
    statistics.write_text("cpu  1000 0 500 8000 100 0 0 0 77 0\ncpu0 1 2 3 4\n")
    meanwhile = OtherLoad()
    statistics.write_text("cpu  1400 0 600 8400 200 0 0 0 99 0\ncpu0 1 2 3 4\n")
    assert meanwhile.share() == pytest.approx((5 - 3) / 10)  # of ten seconds five busy, three ours
