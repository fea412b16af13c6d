"""Two groups of parameters, their optimisers, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from vlp_fast.engine.config import OptimConfig
from vlp_fast.tasks.task import Learner


def build_optimizers(
    learner: Learner, config: OptimConfig, named: Mapping[str, nn.Parameter] | None = None
) -> list[Optimizer]:
    """One optimiser for everything but the CNN, one for the CNN (SOHO trains it by SGD).

    Both optimisers run fused:
    a step with non-finite gradients is skipped without asking the host.

    Args:
        learner: whose parameters are moved.
        config: how.
        named: what is moved in place of them, by their names.
    """
    own = dict(learner.named_parameters())
    named = own if named is None else named
    of_backbone = set(learner.model.backbone.parameters())
    backbone = [named[name] for name, p in own.items() if p in of_backbone]
    others = [named[name] for name, p in own.items() if p not in of_backbone]
    adamw = AdamW(
        others,
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=True,
    )
    return [adamw, _backbone_optimizer(backbone, config)]


def _backbone_optimizer(parameters: list[nn.Parameter], config: OptimConfig) -> Optimizer:
    lr, decay = config.backbone_lr, config.backbone_weight_decay
    if config.backbone_optimizer == "sgd":
        sgd = SGD(parameters, lr=lr, momentum=0.9, weight_decay=decay, fused=True)
        for parameter in parameters:  # a fused first step that is skipped would leave it unset
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    return AdamW(
        parameters, lr=lr, betas=config.betas, eps=config.eps, weight_decay=decay, fused=True
    )


def learning_rate_scale(
    step: int, *, config: OptimConfig, total_steps: int, steps_per_epoch: float
) -> float:
    """The factor on every learning rate at an optimiser step."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * min(step / max(total_steps, 1), 1.0)))
    passed = sum(step >= epoch * steps_per_epoch for epoch in config.decay_epochs)
    return float(warm * config.decay_factor**passed)


def set_learning_rates(
    optimizers: list[Optimizer], scale: float, *, config: OptimConfig, backbone_scale: float
) -> None:
    """Set both optimisers' rates; the CNN's is multiplied by `backbone_scale` besides."""
    backbone = config.backbone_lr * backbone_scale
    for optimizer, rate in zip(optimizers, (config.lr, backbone), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * scale


def clip_gradients(
    parameters: Iterable[nn.Parameter],
    largest: float,
    *,
    scale: Tensor,
    is_finite: Tensor,
    total: Callable[[Tensor], Tensor] = lambda norm: norm,
) -> tuple[Tensor, Tensor]:
    """Multiply the gradients so that their norm, without the scale, is at most `largest`.

    If anything is not finite, all of them become NaN. Each optimiser's scaler judges only the
    gradients of its own; so either all optimisers skip the step, or none.

    Args:
        parameters: those without a gradient are passed over.
        largest: 0 leaves finite gradients as they are.
        scale: () that the losses were multiplied by.
        is_finite: () bool, whether the losses were.
        total: makes of these gradients' norm the one of all, where others have more of them.

    Returns:
        norm: () of the gradients without the scale.
        is_finite: () bool, of losses and gradients.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = total(nn.utils.get_total_norm(gradients)) / scale
    factor = (largest / (norm + 1e-6)).clamp(max=1.0) if largest > 0 else torch.ones_like(norm)
    is_finite = is_finite & norm.isfinite()
    torch._foreach_mul_(gradients, torch.where(is_finite, factor, torch.nan))
    return norm, is_finite
