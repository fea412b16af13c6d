"""The program that measures models before and after does the same work on both sides."""

import argparse
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers.loss import loss_for_object_detection, loss_rt_detr

import vlp_fast

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FAMILIES = ("TransformerEncoder", "Bert", "VectorQuantize", "Yolos", "Detr", "ConditionalDetr")
FAMILIES += ("DeformableDetr", "DabDetr", "TableTransformer", "RTDetr", "RTDetrV2")
SAMPLE = FAMILIES[:4]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXPERIMENTS)
    return importlib.import_module("swapped_models")


def test_it_knows_these(program: Any) -> None:
    assert set(program.FAMILIES) == set(FAMILIES)


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(name, marks=[] if name in SAMPLE else [pytest.mark.exhaustive])
        for name in FAMILIES
    ],
)
def test_both_sides_have_one_loss(program: Any, family: str) -> None:
    torch.manual_seed(0)
    model, call = program.FAMILIES[family](argparse.Namespace(quick=True))
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.MultiheadAttention):
            setattr(module, "p" if isinstance(module, nn.Dropout) else "dropout", 0.0)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    losses = []
    for is_ours in (False, True):
        model.load_state_dict(state)
        if is_ours:
            vlp_fast.accelerate(model)
        torch.manual_seed(1)
        losses.append(call(model.train(), "cpu"))
        losses[-1].backward()
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-5)


@pytest.mark.exhaustive
def test_it_prints_a_line_a_side(program: Any) -> None:
    command = [sys.executable, str(EXPERIMENTS / "swapped_models.py"), "VectorQuantize", "--quick"]
    done = subprocess.run([*command, "--steps", "2"], capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[:2] for line in lines] == [
        ["VectorQuantize", "before"],
        ["VectorQuantize", "after"],
        ["VectorQuantize", "losses"],
    ]
    assert lines[0][-1] == lines[1][-1] and all(float(line[2]) > 0 for line in lines[:2])
    assert float(lines[2][-2]) <= program.CLOSE


def test_matching_is_a_part_of_the_loss_on_both_sides(program: Any) -> None:
    """Before, it is a class of transformers, which this process gives back as it was."""
    for name in ("Yolos", "RTDetr"):
        for is_ours in (True, False):
            torch.manual_seed(0)
            model, call = program.FAMILIES[name](argparse.Namespace(quick=True))
            if is_ours:
                vlp_fast.accelerate(model)
            clocks = program.Clock("cpu"), program.Clock("cpu")
            with pytest.MonkeyPatch.context() as patch:
                for matcher in (
                    loss_for_object_detection.HungarianMatcher,
                    loss_rt_detr.RTDetrHungarianMatcher,
                ):
                    patch.setattr(matcher, "forward", matcher.forward)
                program.put_on_the_clock(model, *clocks)
                call(model.train(), "cpu")
            assert 0 < clocks[1].seconds < clocks[0].seconds
