"""The side of the others: a loop as it is usually written, around a composition.

PyTorch's DataLoader with two processes, AdamW (SGD for the CNN of SOHO) with `foreach`, clipping by
`clip_grad_norm_`, autocast where ours has it, and every loss looked at in every step, as DETR's and
the published SOHO's loops do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, AdamW, Optimizer

from vlp_fast.engine.config import OptimConfig, RunConfig
from vlp_fast.engine.experiment import Experiment, build_experiment
from vlp_fast.models.config import E2EVLPConfig, ModelConfig, SohoConfig
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.pretraining.pretraining import Pretraining

from .batches import Collation, Key, Pictures, moved, padded_loader
from .cases import Way
from .copied import copy_weights
from .e2e_vlp import E2EVLP
from .order import batches_by_kind, random_batches
from .set_loss import Losses
from .soho import Soho

Figures = dict[str, float]
Composition = E2EVLP | Soho
TINY = 1e-6
"""A loss that is no larger is 0."""


class Reference:
    """A composition in training, on the pictures that ours sees.

    Args:
        run: of ours, whose model starts from the same numbers.
        way: how it runs.
        passes: steps of ours, in passes; the pictures of a pass are dealt out anew.

    Attributes:
        disagreement: how far its losses are from ours on one batch, relative to them.
        parameters: how many numbers it has.
    """

    def __init__(self, run: RunConfig, way: Way, passes: Sequence[range]) -> None:
        torch.manual_seed(run.train.seed)
        experiment = build_experiment(run)
        self._precision = experiment.precision
        self._device = experiment.precision.device
        self._clip_norm = run.optim.clip_norm
        self._model = compose(experiment.run.model, way).to(self._device)
        copy_weights(experiment.learner.model, self._model)
        self.parameters = sum(p.numel() for p in self._model.parameters())
        self.disagreement = disagreement(experiment, self._model)
        task = experiment.task
        assert isinstance(task, Pretraining)
        batches = [batch for steps in passes for batch in _dealt(experiment, steps)]
        del task.learner  # the model of ours
        self._model.train()
        self._forward: Any = (
            torch.compile(self._model, dynamic=True) if way.is_compiled else self._model
        )
        self._optimizers = optimizers_of(self._model, run.optim)
        self._scaler = self._precision.scaler()
        self._batches = iter(padded_loader(task, run, batches, self._device))
        self._losses: list[Figures] = []

    def step(self) -> int:
        """Do the next step; returns the pairs in it."""
        batch = moved(next(self._batches), self._device)
        with self._precision.autocast():
            outputs = self._forward(*batch.inputs)
        losses = self._model.losses(outputs, batch)  # type: ignore[arg-type]
        self._losses.append({name: loss.item() for name, loss in losses.items()})
        if not all(map(math.isfinite, self._losses[-1].values())):
            raise RuntimeError(f"a loss is not finite: {self._losses[-1]}")
        total: Tensor = sum(losses.values())  # type: ignore[assignment]
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        self._scaler.scale(total).backward()
        for optimizer in self._optimizers:
            self._scaler.unscale_(optimizer)
        clip_grad_norm_(self._model.parameters(), self._clip_norm)
        for optimizer in self._optimizers:
            self._scaler.step(optimizer)
        self._scaler.update(None if self._precision.is_scaled else 1.0)
        return batch.pairs

    def losses(self) -> Figures:
        """Means since the last call."""
        found, self._losses = self._losses, []
        return {name: sum(x[name] for x in found) / len(found) for name in found[0]}


def compose(config: ModelConfig, way: Way) -> Composition:
    """The composition of a model's configuration, with random weights."""
    if isinstance(config, E2EVLPConfig):
        return E2EVLP(config)
    assert isinstance(config, SohoConfig)
    return Soho(config, is_checkpointed=way.is_checkpointed)


def optimizers_of(model: Composition, config: OptimConfig) -> list[Optimizer]:
    """AdamW for both parts, or SGD for the CNN and AdamW for the rest."""
    backbone = [p for p in model.backbone.parameters() if p.requires_grad]
    of_backbone = set(backbone)
    others = [p for p in model.parameters() if p.requires_grad and p not in of_backbone]
    rates: dict[str, Any] = {"lr": config.backbone_lr, "weight_decay": config.backbone_weight_decay}
    rest = {"lr": config.lr, "weight_decay": config.weight_decay}
    adam: dict[str, Any] = {"betas": config.betas, "eps": config.eps, "foreach": True}
    if config.backbone_optimizer == "sgd":
        sgd = SGD(backbone, momentum=0.9, foreach=True, **rates)
        return [AdamW([{"params": others, **rest}], **adam), sgd]
    groups = [{"params": others, **rest}, {"params": backbone, **rates}]
    return [AdamW(groups, **adam)]


@torch.no_grad()
def disagreement(experiment: Experiment, model: Composition) -> float:
    """The largest relative difference of a loss on the first batch, in evaluation, in float32."""
    experiment.learner.eval()
    ours, composed = both_losses(experiment, model.eval())
    pairs = [(float(loss), float(composed[name])) for name, loss in ours.items()]
    return max(abs(loss - other) / max(abs(loss), TINY) for loss, other in pairs)


def both_losses(experiment: Experiment, model: Composition) -> tuple[Losses, Losses]:
    """What ours and the composition lose on the first batch, both counting cells as DETR does."""
    task: Any = experiment.task
    learner: Any = experiment.learner
    run, device = experiment.run, experiment.precision.device
    epoch, indices = experiment.order.batch(0)
    examples = [task.examples.load(index, epoch, 0) for index in indices]
    if isinstance(run.model, E2EVLPConfig):
        learner.model.valid_cells = "detr"
    inputs = task.collate(examples, BatchKey(task.train, epoch, 0)).to(device)
    if isinstance(run.model, E2EVLPConfig):
        learner.model.valid_cells = run.model.valid_cells
    pictures = Pictures(task, run)
    batch = moved(Collation(task, run)([pictures[epoch, index] for index in indices]), device)
    losses = model.losses(model(*batch.inputs), batch)  # type: ignore[arg-type]
    return learner(task, inputs).losses, losses


def _dealt(experiment: Experiment, steps: range) -> list[list[Key]]:
    """Batches of the pictures that ours has in some steps."""
    found: list[list[Key]] = []
    for step in steps:
        epoch, indices = experiment.order.batch(step)
        found.append([(epoch, index) for index in indices])
    draw = np.random.default_rng(steps.start)
    if isinstance(experiment.run.model, SohoConfig):
        return batches_by_kind(found, experiment.task.train.aspects(), draw)
    return random_batches(found, draw)
