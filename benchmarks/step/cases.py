"""What is measured: a model, how many pictures a step has, and who does the step (torch-free)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlp_fast.data.config import DataConfig
from vlp_fast.engine.config import RunConfig
from vlp_fast.models.config import BackboneConfig, E2EVLPConfig
from vlp_fast.recipes import recipe

from ..report import OURS

SEED = 0


@dataclass(frozen=True, kw_only=True)
class Way:
    """How the composition runs."""

    is_compiled: bool = False
    is_checkpointed: bool = False
    """CNN and layers are computed again in the backward pass."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is done on a device."""

    pictures: int
    """A step."""
    steps: int
    """A pass, in which all sides see the same pictures, each in batches of its own."""
    warm_up: int
    at_once: int
    """Steps of a side until the next one's turn."""


@dataclass(frozen=True, kw_only=True)
class StepCase:
    """A model, and the ways to do a step of its pre-training besides ours."""

    name: str
    recipe: Callable[[], RunConfig]
    on_cpu: Size
    on_gpu: Size
    others: dict[str, Way]

    def size(self, device: str, *, is_quick: bool) -> Size:
        """What to do there."""
        if is_quick:
            return Size(pictures=2, steps=1, warm_up=1, at_once=1)
        return self.on_gpu if device == "cuda" else self.on_cpu


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a side needs to know; all of it can be written as JSON.

    Attributes:
        case, provider: by name.
        device: "cpu" or "cuda".
        data, vocabulary: where pictures and words are.
        pictures: a step.
        warm_up: steps before the first pass.
        steps: of a pass.
        passes: how many.
        at_once: steps until the next side's turn.
        is_quick: of a small model on small pictures.
    """

    case: str
    provider: str
    device: str
    data: str
    vocabulary: str | None
    pictures: int
    warm_up: int
    steps: int
    passes: int
    at_once: int
    is_quick: bool

    @property
    def total(self) -> int:
        """Steps of a side, with one more to count waits for the device in."""
        return self.warm_up + self.passes * self.steps + 1

    @property
    def way(self) -> Way | None:
        """How the composition does it; None for ours."""
        return None if self.provider == OURS else CASES[self.case].others[self.provider]

    def run(self) -> RunConfig:
        """The recipe on these data, from random weights, a shard a step.

        A CPU computes in float32, a GPU in bfloat16 (float16 with a scaled loss, where it must).
        """
        base = CASES[self.case].recipe()
        run = replace(
            base,
            init=(),
            resume="never",
            steps=self.total,
            data=replace(
                base.data,
                root=(Path(self.data),),
                vocabulary=None if self.vocabulary is None else Path(self.vocabulary),
            ),
            train=replace(
                base.train,
                batch_size=self.pictures,
                shards=1,
                seed=SEED,
                device="cuda" if self.device == "cuda" else "cpu",
                precision="fp32" if self.device == "cpu" else "auto",
            ),
        )
        return _quick(run) if self.is_quick else run


def _e2e_vlp_r18_3() -> RunConfig:
    """The paper's recipe with a smaller CNN and half of the layers."""
    base = recipe("e2e_vlp_r50_6")
    backbone = BackboneConfig(depth=18, freeze_stages=1)
    model = E2EVLPConfig(backbone=backbone, encoder_layers=3, decoder_layers=3)
    return replace(base, name="e2e_vlp_r18_3", model=model)


def _quick(run: RunConfig) -> RunConfig:
    """A layer of each kind, on pictures of 96 pixels."""
    model: Any = run.model
    smaller = {"encoder_layers": 1, "decoder_layers": 1, "layers": 1, "num_codes": 64}
    model = replace(model, **{name: n for name, n in smaller.items() if hasattr(model, name)})
    small = replace(model, backbone=replace(model.backbone, depth=18))
    return replace(run, model=small, data=_small(run.data))


def _small(data: DataConfig) -> DataConfig:
    return replace(data, shorter=(96,), shorter_held_out=(96,), longer=160)


_E2E_VLP = {"DETR + BERT": Way(), "DETR + BERT, compiled": Way(is_compiled=True)}
_SOHO = {
    "published SOHO": Way(is_checkpointed=True),
    "published SOHO, not checkpointed": Way(),
    "published SOHO, not checkpointed, compiled": Way(is_compiled=True),
}
CASES = {
    case.name: case
    for case in (
        StepCase(
            name="e2e_vlp_r18_3",
            recipe=_e2e_vlp_r18_3,
            on_cpu=Size(pictures=4, steps=6, warm_up=1, at_once=1),
            on_gpu=Size(pictures=16, steps=24, warm_up=8, at_once=8),
            others=_E2E_VLP,
        ),
        StepCase(
            name="soho_r18_3_official",
            recipe=lambda: recipe("soho_r18_3_official"),
            on_cpu=Size(pictures=4, steps=6, warm_up=1, at_once=1),
            on_gpu=Size(pictures=32, steps=24, warm_up=8, at_once=8),
            others=_SOHO,
        ),
        StepCase(
            name="e2e_vlp_r50_6",
            recipe=lambda: recipe("e2e_vlp_r50_6"),
            on_cpu=Size(pictures=4, steps=3, warm_up=1, at_once=1),
            on_gpu=Size(pictures=16, steps=24, warm_up=8, at_once=8),
            others=_E2E_VLP,
        ),
    )
}
"""The smallest first."""
