"""Tiny models and tasks for tests of tasks over samples."""

from collections.abc import Callable
from typing import Any

import torch

from vlp_fast.data.sample_loader import SampleExample
from vlp_fast.models.config import BackboneConfig, E2EVLPConfig, ModelConfig, SohoConfig
from vlp_fast.tasks.config import TaskConfig
from vlp_fast.tasks.downstream.config import AnsweringConfig, EntailmentConfig, ReasoningConfig
from vlp_fast.tasks.downstream.sample_task import SampleTask
from vlp_fast.tasks.retrieval.config import BinaryRetrievalConfig, CircleRetrievalConfig

BACKBONE = BackboneConfig(
    depth=None,
    block="basic",
    blocks=(1, 1),
    widths=(8, 16),
    stem="imagenet",
    norm="frozen",
    remask=True,
)
MODELS: dict[str, ModelConfig] = {
    "soho": SohoConfig(
        backbone=BACKBONE, width=32, num_heads=4, ffn_dim=64, layers=2, num_codes=16, dropout=0.0
    ),
    "e2e_vlp": E2EVLPConfig(
        backbone=BACKBONE,
        width=32,
        num_heads=2,
        head_dim=16,
        ffn_dim=64,
        encoder_layers=2,
        decoder_layers=1,
        dropout=0.0,
    ),
}
TASKS: dict[str, TaskConfig] = {
    "vqa": AnsweringConfig(),
    "nlvr2": ReasoningConfig(),
    "ve": EntailmentConfig(),
    "binary": BinaryRetrievalConfig(),
    "circle": CircleRetrievalConfig(image_negatives=2, text_negatives=3),
}
Build = Callable[..., SampleTask]


class Cpu:
    """Where tests compute."""

    device = torch.device("cpu")

    def autocast(self) -> Any:
        """In float32."""
        return torch.autocast("cpu", enabled=False)


def shown(task: SampleTask, *indices: int) -> list[SampleExample]:
    """Examples of training."""
    return [task.examples.load(index, 0) for index in indices]
