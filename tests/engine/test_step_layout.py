"""How a step lies in memory, in which numbers, and that both optimisers take it in one pass."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.optimizer_state import flatten
from vlp_fast.engine.trainer import Trainer

Make = Callable[..., RunConfig]
LAST = torch.channels_last


def after_a_step(run: RunConfig, watch: Callable[[Trainer], object]) -> Trainer:
    """The trainer of a run of which `watch` was shown the beginning."""
    torch.manual_seed(0)
    trainer = Trainer(build_experiment(run))
    watch(trainer)
    trainer._prepare()
    trainer._advance(trainer.experiment.batches(0, 1))
    return trainer


@pytest.mark.parametrize("name", ["soho_tiny", "e2e_vlp_tiny"])
@pytest.mark.parametrize("reduction", ["fast", "exact"])
def test_convolutions_are_channels_last(
    micro: Make, tmp_path: Path, name: str, reduction: str
) -> None:
    """Pictures, maps, weights, gradients and momenta: the other way, each is turned round twice."""
    seen: list[tuple[str, torch.Size, bool]] = []

    def note(what: str, value: Tensor) -> None:
        seen.append((what, value.shape, value.is_contiguous(memory_format=LAST)))

    def watch(trainer: Trainer) -> None:
        backbone = trainer.learner.model.backbone
        backbone.register_forward_pre_hook(lambda _, inputs: note("pictures", inputs[0]))
        for part in backbone.modules():
            if isinstance(part, nn.Conv2d):
                part.register_forward_pre_hook(lambda _, inputs: note("map", inputs[0]))
                part.weight.register_post_accumulate_grad_hook(lambda p: note("gradient", p.grad))

    run = micro(name, tmp_path / "run", steps=2, reduction=reduction)
    trainer = after_a_step(run, watch)
    for parameter in trainer.learner.model.backbone.parameters():
        if parameter.dim() == 4:
            note("weight", parameter)
            for value in trainer.updater.optimizers[1].state[parameter].values():
                if isinstance(value, Tensor) and value.dim() == 4:
                    note("momentum", value)
    assert {what for what, _, _ in seen} == {"pictures", "map", "gradient", "weight", "momentum"}
    assert not [entry for entry in seen if not entry[2]]
    assert not any(shape.numel() == max(shape) for _, shape, _ in seen)  # which lies either way


@pytest.mark.parametrize(("kind", "calls"), [("sgd", (1, 1)), ("adamw", (2, 0))])
def test_optimisers_are_fused(
    micro: Make,
    tmp_path: Path,
    kind: Any,
    calls: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One kernel each: others look at the device, or start one for every operation."""
    run = micro("soho_tiny", tmp_path / "run", steps=2)
    run = replace(run, optim=replace(run.optim, backbone_optimizer=kind))
    used: list[str] = []
    for kernel in ("_fused_adamw_", "_fused_sgd_"):
        step = getattr(torch, kernel)

        def counted(*inputs: Any, name: str = kernel, step: Any = step, **options: Any) -> None:
            used.append(name)
            step(*inputs, **options)

        monkeypatch.setattr(torch, kernel, counted)
    after_a_step(run, lambda trainer: None)
    assert (used.count("_fused_adamw_"), used.count("_fused_sgd_")) == calls


def state_of(trainer: Trainer) -> dict[str, Tensor]:
    """Weights, buffers, momenta and the average."""
    updater = trainer.updater
    found = trainer.learner.state_dict() | flatten(updater.optimizers, trainer.learner)[0]
    found |= {f"average.{name}": value for name, value in updater.average.state().items()}
    return {name: value.clone() for name, value in found.items()}


@pytest.mark.parametrize("poisoned", ["backbone.conv1.weight", "encoder.layers.0.ffn.linear1.bias"])
def test_in_float16_both_optimisers_skip_together(
    micro: Make, tmp_path: Path, poisoned: str
) -> None:
    """By one scale, which falls once; what a step keeps is float32."""
    run = micro("soho_tiny", tmp_path / "run", steps=9, precision="fp16", ema=0.5)
    run = replace(run, task=replace(run.task, tagging_steps=0))
    trainer = after_a_step(run, lambda trainer: None)
    batches = trainer.experiment.batches(1, 9)
    while trainer.updater.skipped.in_a_row:  # the scale begins where it is too large
        trainer._advance(batches)
    before, scale = state_of(trainer), trainer.updater.scaler.get_scale()
    assert {x.dtype for x in before.values() if x.is_floating_point()} == {torch.float32}

    weight = trainer.learner.model.get_parameter(poisoned)
    spoilt = weight.register_hook(lambda gradient: gradient * torch.inf)
    trainer._advance(batches)
    after = state_of(trainer)
    assert not [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert trainer.updater.scaler.get_scale() == scale / 2
    assert trainer.updater.skipped.in_a_row == 1

    spoilt.remove()
    trainer._advance(batches)
    last = state_of(trainer)
    moved = {name for name, value in last.items() if not torch.equal(value, after[name])}
    for part in ("model.backbone.conv1.weight", "model.encoder.layers.0.ffn.linear1.weight"):
        assert {part, f"average.{part}"} <= moved
    assert trainer.updater.scaler.get_scale() == scale / 2
