"""docs/your_own_operator.md: its operator, its oracle and its benchmark, as they stand there."""

import re
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from vlp_fast import kernels, ops, reference
from vlp_fast.benchmarks.case import Setting
from vlp_fast.benchmarks.harness import measure
from vlp_fast.ops import registry

PAGE = (Path(__file__).parents[2] / "docs/your_own_operator.md").read_text()
FILES = dict(re.findall(r"^`([\w/]+\.py)`\n\n```python\n(.*?)^```$", PAGE, re.S | re.M))
Import = Callable[[str], ModuleType]


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Import:
    """imported(file): a file of the page under the name that it would have in the package."""
    monkeypatch.setattr(registry, "_operators", dict(registry._operators))

    def load(file: str) -> ModuleType:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FILES[file])
        parts = file.removesuffix(".py").split("/")
        name = ".".join(parts if parts[0] == "vlp_fast" else ["vlp_fast", *parts])
        spec = spec_from_file_location(name, path)
        assert spec and spec.loader
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_the_operator_of_the_page(imported: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(FILES) == PAGE.count("```python\n") == 5
    definition = imported("vlp_fast/reference/pooling.py")
    monkeypatch.setattr(reference, "pooling", definition, raising=False)
    program = imported("kernels/pooling.py")
    monkeypatch.setattr(kernels, "pooling", program, raising=False)
    operator = imported("vlp_fast/ops/pooling.py")
    monkeypatch.setattr(ops, "pooling", operator, raising=False)
    assert set(registry.operators()["segment_mean"].backends) >= {"reference", "triton"}

    oracle = imported("tests/ops/test_pooling.py")
    tests = [value for name, value in vars(oracle).items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()
    with monkeypatch.context() as spoilt:
        exact = program.segment_mean
        spoilt.setattr(program, "segment_mean", lambda *problem: exact(*problem) + 1e-3)
        with pytest.raises(AssertionError):
            oracle.test_values_and_gradients()

    where = Setting(device="cpu", is_quick=True)
    (case,) = imported("benchmarks/pooling.py").cases(where)
    results = {result.provider: result for result in measure(case, where)}
    assert {"vlp_fast", "padded"} <= set(results)
    assert all(result.error <= case.tolerance for result in results.values())
