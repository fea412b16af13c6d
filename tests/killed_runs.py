"""Runs that are killed, and what two runs must share to be the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from vlp_fast.engine.checkpoint import complete_checkpoints
from vlp_fast.engine.clock import TIMED
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.trainer import Trainer

RECIPES = ["soho_tiny", "e2e_vlp_tiny"]


class Killed(BaseException):
    """Stands for SIGKILL."""


def figures(folder: Path) -> list[dict[str, Any]]:
    rows = read_journal(folder / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k not in TIMED} for row in rows]


def tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(complete_checkpoints(folder)[-1] / name)


def assert_same_tensors(a: Path, b: Path) -> None:
    for name in ("model.safetensors", "optimizer.safetensors"):
        first, second = tensors(a, name), tensors(b, name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
    states = [json.loads((complete_checkpoints(f)[-1] / "state.json").read_text()) for f in (a, b)]
    assert states[0] == states[1]


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    advance = Trainer._advance

    def deadly(self: Trainer, batches: Any) -> None:
        if self.step == step:
            raise Killed
        advance(self, batches)

    monkeypatch.setattr(Trainer, "_advance", deadly)
