"""A run whose layers compute again is the run whose layers keep what they computed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from killed_runs import assert_same_tensors, figures

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.trainer import train
from vlp_fast.layers import recomputation


def test_the_same_bits(
    finished: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of weights, momenta, statistics, codes, losses and norms of gradients."""
    checkpoint, calls = recomputation.checkpoint, []

    def counted(*inputs: Any, **options: Any) -> Any:
        calls.append(options)
        return checkpoint(*inputs, **options)

    monkeypatch.setattr(recomputation, "checkpoint", counted)
    settings = replace(finished.train, recompute="layers")
    run = replace(finished, run_dir=tmp_path / "run", train=settings)
    train(run)
    assert len(calls) > 4 * 2  # in each step at least the blocks of the CNN
    assert_same_tensors(finished.directory, run.directory)
    assert figures(run.directory) == figures(finished.directory)
