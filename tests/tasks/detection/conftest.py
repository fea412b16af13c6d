"""Detection on small folders of COCO's layout and on the drawn world, with a tiny model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from detection_cases import USUAL, write_split
from sample_tasks import MODELS

from vlp_fast.models.config import ModelConfig
from vlp_fast.tasks.config import RunLength, TaskSetup
from vlp_fast.tasks.detection.config import DetectionConfig
from vlp_fast.tasks.detection.detection import Detection

Build = Callable[..., Detection]
Folder = Callable[..., Path]


@pytest.fixture
def build(setup: Callable[[ModelConfig], TaskSetup]) -> Build:
    """build(root, split, **settings) is the task in eval mode, measured on a split."""

    def built(
        root: Path,
        split: str = "val",
        *,
        model: str = "e2e_vlp",
        missing_images: Literal["error", "drop"] = "error",
        **settings: Any,
    ) -> Detection:
        config = MODELS[model]
        base = setup(replace(config, num_queries=12) if model == "e2e_vlp" else config)
        data = replace(base.data, root=(root,), held_out_split=split, max_text_length=16)
        data = replace(data, missing_images=missing_images)
        length = RunLength(steps=10, epochs=1.0, batch_size=1, shards=1)
        task = DetectionConfig(**settings).build(
            replace(base, data=data, length=length, held_out_images=10**6)
        )
        task.learner.eval()
        return task  # type: ignore[return-value]

    return built


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """folder(*images) holds val2017 of these, and a training image; each is as USUAL but for it.

    Of an image: size (width, height), orientation by EXIF, boxes, captions, area, crowd, category.
    """

    def made(*images: dict[str, Any]) -> Path:
        root = tmp_path / "coco"
        write_split(root, "train2017", [USUAL | {"captions": ["a thing", "a heap"]}], first=900)
        write_split(root, "val2017", [USUAL | image for image in images], first=1)
        return root

    return made
