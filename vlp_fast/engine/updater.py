"""One optimiser step: from the shards of a batch to weights that have moved.

Nothing here waits for a GPU: whether a step is finite is decided on the device, and one that is not
leaves weights, momenta and buffers as they were.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.profiler import record_function

from vlp_fast.engine.config import TrainConfig
from vlp_fast.engine.counted import PADDING, counted
from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.finite import all_finite
from vlp_fast.engine.kept_buffers import KeptBuffers
from vlp_fast.engine.operations import Operations
from vlp_fast.engine.optim import build_optimizers, clip_gradients
from vlp_fast.engine.parameters import Parameters
from vlp_fast.engine.reduction import Reduction
from vlp_fast.engine.skipped import Skipped
from vlp_fast.engine.weight_average import WeightAverage
from vlp_fast.engine.world import World
from vlp_fast.layers.compilation import compile_layers
from vlp_fast.layers.recomputation import recompute_layers
from vlp_fast.layers.shard_statistics import ShardStatistics
from vlp_fast.tasks.averages import Averages, output_sums
from vlp_fast.tasks.inputs import Inputs
from vlp_fast.tasks.step import StepOutput
from vlp_fast.tasks.task import Objective


def shard_seed(seed: int, step: int, number: int) -> int:
    """What dropout in a shard derives from: the run's seed, the step, and which of its shards.

    The factor is odd, so that all shards of a step differ in the 32 bits that a CPU's generator
    takes of a seed.
    """
    return seed * 1_000_003 + step + number * 0x9E3779B1


class Updater:
    """The part of a run that changes weights.

    Args:
        experiment: whose learner is trained.

    Attributes:
        parameters: what optimisers, average and checkpoints see of the learner's.
        optimizers: of everything but the CNN, of the CNN.
        scaler: of losses in fp16; elsewhere it skips steps that are not finite.
        average: of the weights, if it is asked for.
        operations: that this process computes.
        is_whole: False while some of the weights have moved and others have not.
        skipped: steps that moved nothing.
        shown: (shards, 2) float64 on the device, how many samples each shard of the latest step
            has, and how many of these were replaced.
        left_out: parameters that stay as they are in this phase, which did not freeze them: its
            first shards gave them no gradient.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._config = experiment.run
        self._precision = experiment.precision
        self._learner = experiment.learner
        if self._config.train.compile:
            compile_layers(self._learner)
        if self._config.train.recompute == "layers":
            recompute_layers(self._learner)  # around graphs, which keep nothing then
        self._world = experiment.world
        self.parameters = _parameters(self._learner, self._world, self._config.train)
        self.optimizers = build_optimizers(self._learner, self._config.optim, self.parameters.named)
        self.scaler = self._precision.scaler()
        self.average = WeightAverage(
            self._learner, self._config.train.ema, parameters=self.parameters
        )
        self.is_whole = True
        self.skipped = Skipped(self._precision.device)
        self.shown = torch.zeros(0, 2)
        self.left_out: list[str] = []
        self._reduction = Reduction(
            self._learner,
            self._world,
            self._config.train.shards,
            is_exact=self._config.train.reduction == "exact",
            parameters=self.parameters,
        )
        self.operations = Operations()
        self._buffers = KeptBuffers(self._learner)
        self._statistics = ShardStatistics(self._learner)

    def end_phase(self) -> None:
        """Other parameters are trained from here on: whoever freezes some does so after this."""
        self._reduction.end_phase()
        self.operations.begin_phase()
        self.left_out = []

    def update(self, step: int, objective: Objective, batches: Iterator[Inputs]) -> Averages:
        """Move the weights by the shards of a step.

        Args:
            step: of the run, from which dropout derives.
            objective: what is learnt.
            batches: this process's shards of the step, on the device.

        Returns:
            Losses, counts and the gradient's norm, if the step moved anything; whether it did.
        """
        self._buffers.keep()
        names, sums, statistics = self._differentiate(step, objective, batches)
        with record_function("optimisers"):
            norm, is_skipped = self._move(step, sums, statistics)
        is_finite = is_skipped == 0
        figures = Averages()
        # Of a step that is skipped no figure enters the means: one that is NaN would spoil them.
        figures.add_sums(names, torch.where(is_finite, sums, 0.0))
        figures.add("gradient_norm", torch.where(is_finite, norm, 0.0), is_finite.double())
        figures.add("skipped_steps", is_skipped)
        return figures

    def _move(self, step: int, sums: Tensor, statistics: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Weights and state by gradients and sums; their norm, and whether the step is skipped.

        Sums are those of all processes, and so is the norm: all of them decide alike.
        """
        self._statistics.apply(statistics, self._config.train.shards)
        is_sound = all_finite([sums, *statistics]) & self._buffers.are_sound()
        scale = self.scaler.scale(torch.ones_like(self.skipped.in_a_row))
        trained = [optimizer for optimizer in self.optimizers if _has_gradients(optimizer)]
        norm, is_finite = clip_gradients(
            self.parameters.named.values(),
            self._config.optim.clip_norm,
            scale=scale,
            is_finite=is_sound,
            total=self.parameters.norm,
        )
        # In fp16 a gradient that is infinite asks for a lower scale, a loss for somebody to look.
        is_odd = ~is_sound if self._precision.is_scaled else ~is_finite
        skipped = self.skipped.count(step, is_finite=is_finite, is_odd=is_odd, scale=scale)
        for optimizer in trained:
            self.scaler.unscale_(optimizer)
        self._buffers.put_back_unless(is_finite)
        self.is_whole = False  # until both optimisers and the average have moved
        for optimizer in trained:
            self.scaler.step(optimizer)
            optimizer.zero_grad(set_to_none=True)
        self.average.update(is_finite)
        self.scaler.update(None if self._precision.is_scaled else 1.0)
        return norm, skipped

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Within this context the learner has the weights that are measured, whole ones."""
        with self.average.in_place(), self.parameters.whole():
            yield

    def end(self) -> None:
        """The step is whole: what it has changed stays."""
        self._buffers.forget()
        self.is_whole = True

    def undo(self) -> None:
        """Take back what a step that failed has changed; its weights have not moved."""
        self._buffers.put_back()

    def _differentiate(
        self, step: int, objective: Objective, batches: Iterator[Inputs]
    ) -> tuple[tuple[str, ...], Tensor, list[Tensor]]:
        """Gradients of the shards; names and sums of their figures, sums of their statistics."""
        names: tuple[str, ...] = ()
        shards = self._config.train.shards
        mine = self._world.share_of(shards)
        for number, inputs in zip(mine, batches, strict=True):
            if not self._reduction.is_begun:
                with self.parameters.whole():
                    self._shard(step, number, objective, inputs, is_last=True)
                    self.left_out = self._reduction.begin_phase()
                    self._forget_shard()
            if self.operations.is_due:
                with self.parameters.whole():
                    with self.operations.counted(inputs):
                        self._shard(step, number, objective, inputs, is_last=False)
                    self._forget_shard()
            self.operations.count(inputs)
            output, statistics = self._shard(
                step, number, objective, inputs, is_last=number == mine[-1]
            )
            names, sums = output_sums(output)
            rows = torch.cat([sums, counted(inputs, number, shards, like=sums)])
            self._reduction.add([rows, *statistics])
        with record_function("sums over processes"):
            rows, *statistics = self._reduction.take()
        self.operations.end_step()
        sums, self.shown = rows[:-shards], rows[-shards:]
        return (*names, PADDING), sums, statistics

    def _forget_shard(self) -> None:
        """Nothing stays of the first shard of a step, which is going to be computed again."""
        for parameter in self._learner.parameters():
            parameter.grad = None
        self._buffers.put_back()
        self._learner.train()
        self._buffers.keep()

    def _shard(
        self, step: int, number: int, objective: Objective, inputs: Inputs, *, is_last: bool
    ) -> tuple[StepOutput, list[Tensor]]:
        """Gradients of a shard; what it gives and what it would change."""
        torch.manual_seed(shard_seed(self._config.train.seed, step, number))
        self._statistics.begin(number, self._config.train.shards)
        with self._reduction.shard(is_last=is_last) as learner:
            with record_function("forward"), self._precision.autocast():
                output: StepOutput = learner(objective, inputs)
            with record_function("backward"):
                self.scaler.scale(output.total * self._reduction.factor).backward()
        return output, self._statistics.take()


def _parameters(learner: nn.Module, world: World, train: TrainConfig) -> Parameters:
    if train.reduction != "sharded" or world.count == 1:
        return Parameters(learner)
    from vlp_fast.engine.sharded_parameters import ShardedParameters  # a second of imports

    return ShardedParameters(learner, world)


def _has_gradients(optimizer: Optimizer) -> bool:
    return any(p.grad is not None for group in optimizer.param_groups for p in group["params"])
