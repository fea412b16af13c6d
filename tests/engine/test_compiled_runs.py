"""A run whose Transformer layers are compiled learns what it learns without, and compiles once."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func
from killed_runs import assert_same_tensors, figures
from torch._dynamo.backends.common import aot_autograd

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.trainer import train
from vlp_fast.errors import InputError
from vlp_fast.layers.compilation import compile_layers

Make = Callable[..., RunConfig]
Compile = Callable[..., RunConfig]
ONE = pytest.mark.parametrize("finished", ["soho_tiny"], indirect=True)
GRAPHS = {"soho_tiny": 1, "e2e_vlp_tiny": 4}
"""An encoder's; a decoder's for queries and for captions, of the first layer and of others."""


@pytest.fixture(autouse=True)
def _forget_graphs() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compile:
    """compiled(run, backend) trains a run with compiled layers in a folder of its own."""

    def train_it(run: RunConfig, backend: Any, **settings: Any) -> RunConfig:
        told = partial(compile_layers, backend=backend)
        monkeypatch.setattr("vlp_fast.engine.updater.compile_layers", told)
        settings = {"compile": True, **settings}
        run = replace(run, run_dir=tmp_path / "run", train=replace(run.train, **settings))
        train(run)
        return run

    return train_it


def rows(run: RunConfig) -> list[dict[str, Any]]:
    return [row for row in figures(run.directory) if row["kind"] == "train"]


@pytest.mark.parametrize(
    "recompute", ["none", pytest.param("layers", marks=pytest.mark.exhaustive)]
)
def test_graphs_are_of_the_same_bits_and_serve_all_lengths(
    finished: RunConfig, compiled: Compile, recompute: str
) -> None:
    """A backend that runs what was traced as it was: dropout is drawn as without, too."""
    run = compiled(finished, "eager", recompute=recompute)
    assert_same_tensors(finished.directory, run.directory)
    counts = [row.pop("compilations") for row in rows(run)]
    assert counts == [0, 0, GRAPHS[run.name], 0]  # tagging trains no layers
    without = [{**row} for row in rows(run)]
    for row in without:
        del row["compilations"]
    assert without == rows(finished)
    train(replace(run, steps=14))  # past the step whose operations are counted
    assert [row["compilations"] for row in rows(run)[4:]] == [0] * 10
    held_out = [row for row in figures(run.directory) if row["kind"] == "held_out"]
    assert held_out[0] in figures(finished.directory)


def node_counts(graph: torch.fx.GraphModule) -> Counter[str]:
    """How many nodes each operator of this package has; one that writes is wrapped in another."""
    nodes = [node for node in graph.graph.nodes if node.op == "call_function"]
    targets = (
        node.args[0] if "functionalized" in str(node.target) else node.target for node in nodes
    )
    ours = (target for target in targets if getattr(target, "namespace", "") == "vlp_fast")
    return Counter(target.name().partition("::")[2] for target in ours)


@ONE
def test_operators_stay_single_nodes(finished: RunConfig, compiled: Compile) -> None:
    """Forward and backward, as compilers get them; what lies between may be rounded otherwise."""
    found: list[Counter[str]] = []

    def note(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        found.append(node_counts(graph))
        return make_boxed_func(graph.forward)

    run = compiled(finished, aot_autograd(fw_compiler=note))
    operators = ("attention", "residual_norm")
    assert found == [dict.fromkeys(operators, 1), {f"{name}_backward": 1 for name in operators}]
    for row, expected in zip(rows(run), rows(finished), strict=True):
        for name in ("loss", "mlm", "mvm", "itm") if row["step"] > 2 else ("loss",):
            assert row[name] == pytest.approx(expected[name], rel=1e-3), (row["step"], name)


@ONE
def test_a_compiler_that_is_not_there_is_told(finished: RunConfig, compiled: Compile) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no compiler\nof C++")

    told = r"^after step 2: a layer was not compiled: RuntimeError \(no compiler\); .*no-compile"
    with pytest.raises(InputError, match=told):
        compiled(finished, refuse)


@pytest.mark.exhaustive
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("name", ["soho_tiny", "e2e_vlp_tiny"])
def test_losses_differ_by_rounding(
    micro: Make, tmp_path: Path, compiled: Compile, name: str, backend: str
) -> None:
    run = micro(name, tmp_path / "eager", steps=8, precision="fp32")
    run = replace(run, model=replace(run.model, dropout=0.0))  # Inductor draws other numbers
    train(run)
    found = rows(compiled(run, backend))
    for row, expected in zip(found, rows(run), strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-3), row["step"]
    assert sum(row["compilations"] for row in found[4:]) == 0
    assert found[2]["gradient_norm"] == pytest.approx(rows(run)[2]["gradient_norm"], rel=1e-4)
