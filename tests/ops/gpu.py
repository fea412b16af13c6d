"""What tests on a real GPU share: backends, calls that must not wait, graphs, compilations."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from vlp_fast import ops


def each_backend(operator: str) -> Any:
    """A fixture: every test runs on each backend that a GPU has for this operator."""
    built = ops.operators()[operator].backends

    @pytest.fixture(params=[name for name in ("triton", "cuda") if name in built], autouse=True)
    def backend(request: pytest.FixtureRequest) -> Iterator[str]:
        if request.param == "triton" and torch.cuda.get_device_capability() < (8, 0):
            pytest.skip("Triton's programs need sm_80")
        with ops.use(request.param):
            yield request.param

    return backend


@contextmanager
def no_wait() -> Iterator[None]:
    """Whatever waits for the GPU in here raises."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def in_graph(run: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
    """`run` as a graph, after a first call outside of it, and what it returns there."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run()
    return graph, out


def compilations() -> int:
    """How many programs Triton has in its caches; 0 without it."""
    try:
        from triton.runtime import JITFunction
    except ImportError:
        return 0
    import gc

    # By type: `isinstance` asks objects for their class, and a proxy may be dead.
    functions = (one for one in gc.get_objects() if issubclass(type(one), JITFunction))
    caches = (cache for one in functions for cache in one.device_caches.values())
    return sum(len(cache[0]) for cache in caches)
