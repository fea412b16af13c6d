"""Compilations and waits are counted, with stand-ins for the GPU's."""

import warnings

import pytest
import torch

from vlp_fast.benchmarks.counters import CompilationCounter, count_synchronisations


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
