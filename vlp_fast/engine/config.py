"""What a run is: data, model, task, optimisation, and how often what happens (torch-free)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from vlp_fast.checks import (
    AT_LEAST_ONE,
    BELOW_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Range,
    check,
)
from vlp_fast.data.config import DataConfig
from vlp_fast.models.config import ModelConfig
from vlp_fast.tasks.config import TaskConfig

SEEDS = Range("0 to 4294967295", lambda x: 0 <= x < 2**32)


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Two worlds of parameters: the CNN, and everything else."""

    lr: float = 1e-4
    """Learning rate of everything but the CNN (AdamW)."""
    weight_decay: float = 1e-4
    """Of everything but the CNN."""
    backbone_optimizer: Literal["adamw", "sgd"] = "adamw"
    """SGD with momentum 0.9 in SOHO, AdamW in E2E-VLP."""
    backbone_lr: float = 1e-5
    """Learning rate of the CNN."""
    backbone_weight_decay: float = 1e-4
    """Of the CNN."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's momenta."""
    eps: float = 1e-8
    """AdamW's epsilon."""
    schedule: Literal["step", "cosine"] = "step"
    """Step: times `decay_factor` at each of `decay_epochs`. Cosine: to zero at the end of the run,
    and at the end of tagging, which has a warm-up and a schedule of its own."""
    decay_epochs: tuple[float, ...] = ()
    """Epochs (over images) after which the rate is multiplied by `decay_factor`."""
    decay_factor: float = 0.1
    """Of the schedule by steps."""
    warmup_steps: int = 0
    """Optimiser steps of linear warm-up."""
    clip_norm: float = 0.1
    """Largest L2 norm of all gradients together; 0: no clipping."""
    freeze_backbone: float = 0.0
    """The CNN is frozen for this many epochs (SOHO: 10, against a cold dictionary)."""
    freeze_statistics: bool = False
    """Batch norm keeps its statistics from the start of the freeze to the end of the run."""
    thaw_scale: float = 1.0
    """The CNN's rate is multiplied by this after the freeze."""

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that nothing can be trained with."""
        check(self, POSITIVE, "lr", "eps", "decay_epochs")
        check(self, NOT_NEGATIVE, "backbone_lr", "weight_decay", "backbone_weight_decay")
        check(self, BELOW_ONE, "betas")
        check(self, SHARE, "decay_factor")
        check(self, NOT_NEGATIVE, "warmup_steps", "clip_norm", "freeze_backbone", "thaw_scale")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, how much at once, and how often what is written."""

    batch_size: int = 32
    """Images a shard: what is computed at once, with padding, dropout and batch norm of its own."""
    shards: int = 1
    """Shards of an optimiser step, one behind another or shared by several processes, whose number
    divides it. Losses and statistics are means over them; the dictionary moves once a step."""
    processes: int = 1
    """Processes on this machine that share the shards of a step, each with a GPU of its own where
    there are any; of several machines, `torchrun -m vlp_fast train` starts them."""
    reduction: Literal["fast", "exact", "sharded"] = "fast"
    """How gradients of shards are added up. Exact: the same bits for any number of processes that
    is a power of two, with the memory of a few more gradients. Fast: while they are computed.
    Sharded: so, too, and of weights, gradients and optimisers each process keeps its part (FSDP)"""
    ema: float = 0.0
    """Average the weights over steps, each old average weighing so much, such as 0.999 (about the
    last 1000 steps); 0: do not. Held-out figures, pictures, `evaluate`, `submit` and `--init` of
    another run take the average; training goes on with the weights themselves."""
    recompute: Literal["none", "layers"] = "none"
    """Layers: of Transformer layers and of the CNN's residual blocks, a step keeps the input and
    computes the rest again in the backward pass: the same bits, in less memory and more time."""
    compile: bool = False
    """Give each Transformer layer to torch.compile for training; the first step waits for it. The
    same losses but for rounding and the dropout drawn; held-out figures are computed without."""
    epochs: float = 1.0
    """Passes over the images; `--steps` overrides."""
    seed: int = 0
    """Of everything random."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Auto: the GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Auto: bf16 where the device computes in it, else fp16 with loss scaling (V100), fp32 on
    CPUs without bf16 instructions."""
    log_every: int = 20
    """Steps between two lines of metrics.jsonl."""
    evaluate_every: int = 0
    """Steps between two held-out evaluations; 0: only at the end."""
    checkpoint_every: int = 0
    """Steps between two checkpoints; 0: only at the end."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints stay."""
    keep_best: str = ""
    """A held-out figure by which the best checkpoint stays, too, as the run folder `best` in that
    of the run. Higher is better but for `loss` and what ends in `_loss`; a minus before the name
    of another (`--train.keep-best=-itm`) makes it lower. Each new best state is saved."""
    rollbacks: int = 1
    """How often a run whose steps are not finite any more goes back to its newest sound checkpoint,
    and on from there with other samples, before it stops; 0: it stops at once."""
    watchdog_minutes: float = 30.0
    """Minutes without a step after which a process prints what its threads are doing, and ends; 0:
    never."""
    tensorboard: bool = False
    """Write the figures of metrics.jsonl for TensorBoard too (needs the extra `log`)."""
    profile: str = ""
    """Steps to watch, as in 10:20: a table of where their time went, and a trace, in the folder."""
    held_out_images: int = 512
    """Held-out samples an evaluation looks at, at most: chosen by a hash of their ids, so that they
    are spread over the split, the same ones in every run, and fewer are a part of more."""
    picture: bool = True
    """Draw report.png at the end (needs matplotlib)."""

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that no run can have."""
        check(self, POSITIVE, "epochs")
        check(self, SEEDS, "seed")
        check(self, BELOW_ONE, "ema")
        check(self, NOT_NEGATIVE, "evaluate_every", "checkpoint_every", "watchdog_minutes")
        check(self, NOT_NEGATIVE, "rollbacks")
        check(
            self, AT_LEAST_ONE, "batch_size", "shards", "processes", "log_every", "keep_checkpoints"
        )
        check(self, AT_LEAST_ONE, "held_out_images")
        _ = self.profiled_steps

    @property
    def profiled_steps(self) -> range:
        """Those of `profile`: of "10:20" the steps after the 10th, up to the 20th."""
        first, _, last = (self.profile or "0:0").partition(":")
        if not (first.isdigit() and last.isdigit()) or int(first) > int(last):
            raise ValueError(
                f"TrainConfig: received profile = {self.profile!r}, expected steps as in '10:20'"
            )
        return range(int(first), int(last))


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a run; what a recipe returns."""

    name: tyro.conf.Suppress[str]
    """The recipe's name; not an option of the command line."""
    file: tyro.conf.Suppress[Path | None] = None
    """The file of a recipe of one's own; no option either."""
    model: ModelConfig
    task: TaskConfig
    data: DataConfig
    optim: OptimConfig
    train: TrainConfig
    init: tuple[Path, ...] = ()
    """Weights that a new run starts from, one behind another: an earlier run, an exported model, a
    ResNet, a BERT, a DETR, the published SOHO. With nothing behind it: random weights."""
    run_dir: Path | None = None
    """Where everything is written; runs/<recipe> if not given."""
    steps: int | None = None
    """Optimiser steps; the recipe's epochs if not given."""
    resume: Literal["auto", "never"] = "auto"
    """Auto: go on from the newest complete checkpoint of the run folder. Never: start anew, and
    refuse a folder with checkpoints."""

    def __post_init__(self) -> None:
        """Raises ValueError for a run without steps."""
        check(self, AT_LEAST_ONE, "steps")

    @property
    def directory(self) -> Path:
        """The run folder."""
        return self.run_dir or Path("runs") / self.name
