"""Settings outside their ranges are refused where they are made; those on the edge are not."""

import math
from typing import Any

import pytest

from vlp_fast.data.config import DataConfig
from vlp_fast.engine.config import OptimConfig, RunConfig, TrainConfig
from vlp_fast.models.config import SohoConfig
from vlp_fast.tasks.pretraining.config import E2EVLPPretrainingConfig, SohoPretrainingConfig

NAN, INF = math.nan, math.inf
WRONG: list[tuple[type, str, tuple[Any, ...]]] = [
    (OptimConfig, "lr", (NAN, -1.0, 0.0, INF)),
    (OptimConfig, "backbone_lr", (NAN, -1.0)),
    (OptimConfig, "betas", ((1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9, NAN))),
    (OptimConfig, "eps", (0.0, -1e-8, NAN)),
    (OptimConfig, "weight_decay", (-1e-4, NAN)),
    (OptimConfig, "backbone_weight_decay", (-1e-4, NAN)),
    (OptimConfig, "warmup_steps", (-1,)),
    (OptimConfig, "clip_norm", (-0.1, NAN)),
    (TrainConfig, "shards", (0, -1)),
    (OptimConfig, "freeze_backbone", (-1.0, NAN)),
    (OptimConfig, "thaw_scale", (-0.5, NAN)),
    (OptimConfig, "decay_epochs", ((0.0,), (2.0, -3.0), (NAN,))),
    (TrainConfig, "batch_size", (0, -2)),
    (TrainConfig, "epochs", (0.0, -1.0, NAN, INF)),
    (TrainConfig, "seed", (-1, 2**32)),
    (TrainConfig, "ema", (-0.1, 1.0, NAN)),
    (TrainConfig, "log_every", (0, -1)),
    (TrainConfig, "evaluate_every", (-1,)),
    (TrainConfig, "checkpoint_every", (-1,)),
    (TrainConfig, "keep_checkpoints", (0, -1)),
    (TrainConfig, "held_out_images", (0, -1)),
    (DataConfig, "num_workers", (-1,)),
    (DataConfig, "shorter", ((0,), (64, -1), ())),
    (DataConfig, "shorter_held_out", ((0,), ())),
    (DataConfig, "longer", (0, -5)),
    (DataConfig, "max_text_length", (2, 0)),
    (DataConfig, "vocabulary_size", (0,)),
    (DataConfig, "max_pixels", (0,)),
    *[
        (kind, name, values)
        for kind in (E2EVLPPretrainingConfig, SohoPretrainingConfig)
        for name, values in (("mask_rate", (0.0, 1.0, -0.1, NAN)), ("curriculum", (-0.1, 1.1, NAN)))
    ],
    (E2EVLPPretrainingConfig, "mismatch_rate", (-0.1, 1.1, NAN)),
    (E2EVLPPretrainingConfig, "image_only_detection_rate", (-0.1, 1.1, NAN)),
    (E2EVLPPretrainingConfig, "label_smoothing", (-0.1, 1.0, NAN)),
    *[
        (E2EVLPPretrainingConfig, f"{name}_weight", (-1.0, NAN, INF))
        for name in ("class", "bbox", "giou", "attribute")
    ],
    (E2EVLPPretrainingConfig, "eos_coef", (-0.1, NAN)),
    (SohoPretrainingConfig, "own_texts", (0, -1)),
    (SohoPretrainingConfig, "foreign_texts", (0, -1)),
    (SohoPretrainingConfig, "codebook_samples", (0, -1)),
    (SohoPretrainingConfig, "tagging_steps", (-1,)),
]
EDGES: list[tuple[type, dict[str, Any]]] = [
    (OptimConfig, {"betas": (0.0, 0.0), "weight_decay": 0.0, "backbone_weight_decay": 0.0}),
    (OptimConfig, {"backbone_lr": 0.0, "warmup_steps": 0, "clip_norm": 0.0, "thaw_scale": 0.0}),
    (TrainConfig, {"batch_size": 1, "epochs": 1e-3, "log_every": 1, "keep_checkpoints": 1}),
    (TrainConfig, {"held_out_images": 1, "seed": 2**32 - 1}),
    (DataConfig, {"num_workers": 0, "shorter": (1,), "longer": 1, "max_text_length": 3}),
    (DataConfig, {"shorter": None, "shorter_held_out": None, "longer": None, "max_pixels": 1}),
    (E2EVLPPretrainingConfig, {"mismatch_rate": 0.0, "curriculum": 1.0, "class_weight": 0.0}),
    (
        E2EVLPPretrainingConfig,
        {"mismatch_rate": 1.0, "image_only_detection_rate": 1.0, "eos_coef": 0.0},
    ),
    (
        SohoPretrainingConfig,
        {"own_texts": 1, "foreign_texts": 1, "curriculum": 0.0, "mask_rate": 0.99},
    ),
    (SohoPretrainingConfig, {"codebook_samples": 1, "tagging_steps": 0}),
]


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(kind, name, value) for kind, name, values in WRONG for value in values],
)
def test_a_number_out_of_range(kind: type, name: str, value: Any) -> None:
    with pytest.raises(ValueError) as raised:
        kind(**{name: value})
    said = str(raised.value)
    assert said.startswith(f"{kind.__name__}: received {name} = {value}, expected ")
    assert "\n" not in said


@pytest.mark.parametrize(("kind", "settings"), EDGES)
def test_a_number_at_the_edge(kind: type, settings: dict[str, Any]) -> None:
    config = kind(**settings)
    assert {name: getattr(config, name) for name in settings} == settings


def test_the_message_says_what_is_expected() -> None:
    with pytest.raises(ValueError) as raised:
        OptimConfig(lr=NAN)
    assert str(raised.value) == "OptimConfig: received lr = nan, expected a positive number"


@pytest.mark.parametrize("steps", [0, -1])
def test_a_run_without_steps(steps: int) -> None:
    def run(steps: int | None) -> RunConfig:
        return RunConfig(
            name="x",
            steps=steps,
            model=SohoConfig(),
            task=SohoPretrainingConfig(),
            data=DataConfig(),
            optim=OptimConfig(),
            train=TrainConfig(),
        )

    with pytest.raises(ValueError, match=rf"RunConfig: received steps = {steps}, expected 1"):
        run(steps)
    assert run(None).steps is None
