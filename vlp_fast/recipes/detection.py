"""Detection with paired text (E2E-VLP section 5.8), and small runs of it for a laptop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vlp_fast.engine.config import RunConfig
from vlp_fast.recipes import e2e_vlp
from vlp_fast.tasks.detection.config import DetectionConfig


def tiny() -> RunConfig:
    """About a minute on two cores: the loss falls; nothing is learnt well."""
    base = e2e_vlp.tiny()
    return replace(
        base,
        name="detection_e2e_vlp_tiny",
        task=DetectionConfig(),
    )


RECIPES: dict[str, Callable[[], RunConfig]] = {"detection_e2e_vlp_tiny": tiny}
