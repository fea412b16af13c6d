"""Settings of detection with paired text, and of the set loss that pre-training shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlp_fast.checks import NOT_NEGATIVE, SHARE, check
from vlp_fast.data.config import DataConfig, Layout
from vlp_fast.data.given_paths import only_root
from vlp_fast.tasks.config import TaskConfig, TaskSetup

if TYPE_CHECKING:
    from vlp_fast.tasks.task import Task

Text = Literal["own", "no", "foreign"]


@dataclass(frozen=True, kw_only=True)
class SetLossConfig(TaskConfig):
    """Weights of the set loss; the matching cost uses the same."""

    class_weight: float = 1.0
    """DETR's weight of the class loss and cost."""
    bbox_weight: float = 5.0
    """DETR's weight of the L1 loss and cost."""
    giou_weight: float = 2.0
    """DETR's weight of the GIoU loss and cost."""
    attribute_weight: float = 1.0
    """Weight of the attribute loss (1 in the paper's sum) and cost (the paper is silent)."""
    eos_coef: float = 0.1
    """DETR's weight of the no-object class."""

    def __post_init__(self) -> None:
        """Raises ValueError for weights that cannot be."""
        check(self, NOT_NEGATIVE, "class_weight", "bbox_weight", "giou_weight")
        check(self, NOT_NEGATIVE, "attribute_weight", "eos_coef")


@dataclass(frozen=True, kw_only=True)
class DetectionConfig(SetLossConfig):
    """Detection with paired text (E2E-VLP section 5.8): picture and caption in, boxes out."""

    textless_rate: float = 0.0
    """Share of the pictures that training shows without their caption; 0 in the paper. A model
    that never saw one without is no measure of what the text adds."""
    texts: tuple[Text, ...] = ("own", "no", "foreign")
    """Texts beside held-out pictures, a column of figures each: their own caption, none, that of
    another picture. Losses, and boxes that are handed in, are those with the first."""
    resamples: int = 200
    """Resamples of the held-out pictures that the 95 % intervals of AP, and of what a text adds to
    it, are from; 0: no intervals."""

    def __post_init__(self) -> None:
        """Raises ValueError for rates that cannot be, and without a column."""
        super().__post_init__()
        check(self, SHARE, "textless_rate")
        check(self, NOT_NEGATIVE, "resamples")
        if not self.texts or len(set(self.texts)) < len(self.texts):
            raise ValueError(
                f"DetectionConfig: received texts = {self.texts}, expected one or more of own, no "
                "and foreign, none of them twice"
            )

    @property
    def abilities(self) -> tuple[str, ...]:
        """What its model is good for."""
        return ("detect",)

    def build(self, setup: TaskSetup) -> Task:
        """Read the data and build the task."""
        from vlp_fast.tasks.detection.detection import Detection

        return Detection(self, setup)

    def look_first(self, data: DataConfig) -> None:
        """This task reads one data set."""
        only_root(data)

    def look_before_submission(self, data: DataConfig) -> None:
        """Somebody takes answers to the split, and its images are known."""
        self.keys_to_answer(data)

    def layout(self, data: DataConfig) -> Layout:
        """The layout of the data set's files.

        Raises:
            InputError: if it is none of those that are known.
        """
        from vlp_fast.data.sources import find_layout

        return find_layout(
            only_root(data),
            layout=data.layout,
            karpathy_file=data.karpathy_file,
            needs_captions=False,
        )

    def keys_to_answer(self, data: DataConfig) -> list[int]:
        """Ids of all images of the held-out split, whether they are there or not.

        Raises:
            InputError: if nobody takes answers to it, or it cannot be read.
        """
        from vlp_fast.data.sources.annotations import image_ids
        from vlp_fast.data.submissions.coco_detection import check_split

        check_split(data.held_out_split)
        return image_ids(only_root(data), self.layout(data), data.held_out_split)
