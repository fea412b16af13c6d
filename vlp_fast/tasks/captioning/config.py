"""Settings of captioning (torch-free)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlp_fast.checks import AT_LEAST_ONE, BELOW_ONE, NOT_NEGATIVE, check
from vlp_fast.data.config import DataConfig
from vlp_fast.tasks.config import TaskConfig, TaskSetup

if TYPE_CHECKING:
    from vlp_fast.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class CaptioningConfig(TaskConfig):
    """Captions written from the picture alone."""

    label_smoothing: float = 0.1
    """Share of a word's probability that is spread over the vocabulary (not in the paper; that of
    PALM, by the same authors)."""
    beams: int = 4
    """Of the search for held-out captions (section 5.1); 1 takes the likeliest word each time."""
    alpha: float = 0.9
    """How far the search makes up for length (section 5.1; Wu et al.)."""
    greedy: bool = True
    """Held-out figures of captions without a search, too: the likeliest word each time."""

    def __post_init__(self) -> None:
        """Raises ValueError for what no caption can be written with."""
        check(self, BELOW_ONE, "label_smoothing")
        check(self, AT_LEAST_ONE, "beams")
        check(self, NOT_NEGATIVE, "alpha")

    @property
    def widths(self) -> tuple[int, ...]:
        """Beams of each way that held-out captions are written in; one beam is greedy."""
        return (self.beams, 1) if self.greedy and self.beams > 1 else (self.beams,)

    def look_before_submission(self, data: DataConfig) -> None:
        """Somebody scores captions of the split, and its images are known."""
        super().look_before_submission(data)
        self.keys_to_answer(data)

    def keys_to_answer(self, data: DataConfig) -> list[int]:
        """Ids of all images of the held-out split, whether they are there or not.

        Raises:
            InputError: if nobody scores captions of it, or it cannot be read.
        """
        from vlp_fast.data.sources.captioned import captioned_images
        from vlp_fast.data.submissions.complete import refuse_other_split

        refuse_other_split(data.held_out_split, ("val", "test"), "captions")
        return captioned_images(data)

    @property
    def abilities(self) -> tuple[str, ...]:
        """What its model is good for."""
        return ("caption",)

    def build(self, setup: TaskSetup) -> Task:
        """Read the data and build the task."""
        from vlp_fast.tasks.captioning.captioning import Captioning

        return Captioning(self, setup)
