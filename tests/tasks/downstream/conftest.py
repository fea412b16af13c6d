"""Tasks over samples of the small drawn world, on tiny models of either system."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample_tasks import MODELS, TASKS, Build

from vlp_fast.models.config import ModelConfig
from vlp_fast.tasks.config import TaskSetup


@pytest.fixture(scope="session")
def build(small_world: Path, setup: Callable[[ModelConfig], TaskSetup]) -> Build:
    """build(task, model, **settings) is a task in eval mode."""

    def built(task: str, model: str = "soho", root: Path | None = None, **settings: Any) -> Any:
        root = root or (small_world / "nlvr2" if task == "nlvr2" else small_world)
        base = setup(MODELS[model])
        data = replace(base.data, root=root, held_out_split="val", max_text_length=40)
        made = replace(TASKS[task], **settings).build(replace(base, data=data, held_out_images=20))
        made.learner.eval()
        return made

    return built
