"""Two groups of parameters, their optimisers, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from vlp_fast.engine.config import OptimConfig


def build_optimizers(model: nn.Module, config: OptimConfig) -> list[Optimizer]:
    """One optimiser for everything but the CNN, one for the CNN (SOHO trains it by SGD).

    Parameters are told apart by name: the CNN is `model.backbone`. Both optimisers run fused
    on a GPU, where a step with non-finite gradients is skipped without asking the host.
    """
    backbone = [p for n, p in model.named_parameters() if n.startswith("backbone.")]
    others = [p for n, p in model.named_parameters() if not n.startswith("backbone.")]
    fused = any(p.is_cuda for p in others)
    adamw = AdamW(
        others,
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=fused,
    )
    return [adamw, _backbone_optimizer(backbone, config, fused=fused)]


def _backbone_optimizer(
    parameters: list[nn.Parameter], config: OptimConfig, *, fused: bool
) -> Optimizer:
    lr, decay = config.backbone_lr, config.backbone_weight_decay
    if config.backbone_optimizer == "sgd":
        return SGD(parameters, lr=lr, momentum=0.9, weight_decay=decay, fused=fused)
    return AdamW(
        parameters, lr=lr, betas=config.betas, eps=config.eps, weight_decay=decay, fused=fused
    )


def learning_rate_scale(
    step: int, *, config: OptimConfig, total_steps: int, steps_per_epoch: float
) -> float:
    """The factor on every learning rate at an optimiser step."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * min(step / max(total_steps, 1), 1.0)))
    passed = sum(step >= epoch * steps_per_epoch for epoch in config.decay_epochs)
    return float(warm * 0.1**passed)


def set_learning_rates(
    optimizers: list[Optimizer], scale: float, *, config: OptimConfig, thawed: bool
) -> None:
    """Set both optimisers' rates; after a freeze the CNN's is multiplied by `thaw_scale`."""
    after_freeze = thawed and config.freeze_backbone > 0
    backbone = config.backbone_lr * (config.thaw_scale if after_freeze else 1.0)
    for optimizer, rate in zip(optimizers, (config.lr, backbone), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * scale


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> torch.Tensor:
    """Scale the gradients to a norm of at most `largest` (0: measure only); returns the norm."""
    bound = largest if largest > 0 else math.inf
    return nn.utils.clip_grad_norm_(parameters, bound, error_if_nonfinite=False)
