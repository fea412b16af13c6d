"""Settings of the two pre-training tasks (torch-free)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlp_fast.checks import (
    AT_LEAST_ONE,
    BELOW_ONE,
    BETWEEN_ZERO_AND_ONE,
    NOT_NEGATIVE,
    SHARE,
    check,
)
from vlp_fast.data.config import DataConfig
from vlp_fast.errors import InputError
from vlp_fast.tasks.config import TaskConfig, TaskSetup
from vlp_fast.tasks.detection.config import SetLossConfig

if TYPE_CHECKING:
    from vlp_fast.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig(TaskConfig):
    """What both have."""

    mask_rate: float = 0.15
    """Share of a text's tokens to predict (BERT)."""
    tagging_steps: int = 0
    """First steps of the run, in which CNN, projection and word embeddings alone learn which words
    the captions of a picture have: a stand-in for ImageNet weights (not in the papers)."""
    curriculum: float = 0.0
    """Share of the run, tagging included, during which pictures with few objects come first."""
    sampled_cells: int | None = None
    """Cells of a picture that masked words and matching read in training, drawn anew each time it
    is shown (Pixel-BERT: 100); None: all. Objectives that need all cells have to be off."""

    def __post_init__(self) -> None:
        """Raises ValueError for rates and counts that cannot be."""
        check(self, BETWEEN_ZERO_AND_ONE, "mask_rate")
        check(self, NOT_NEGATIVE, "tagging_steps")
        check(self, SHARE, "curriculum")
        check(self, AT_LEAST_ONE, "sampled_cells")

    def refuse_sampled(self, objective: str) -> None:
        """Refuse `sampled_cells` where this objective is on, which needs all cells."""
        if self.sampled_cells is not None and getattr(self, objective):
            raise ValueError(
                f"{type(self).__name__}: received sampled_cells = {self.sampled_cells} with "
                f"{objective} = True, which needs all cells; expected one of the two, such as "
                f"--task.no-{objective.replace('_', '-')}"
            )

    def look_before_submission(self, data: DataConfig) -> None:
        """Nobody takes answers of pre-training."""
        raise InputError(
            "a run of pre-training has no answers to hand in; fine-tune it first: `vlp-fast "
            "recipes` lists vqa_*, nlvr2_* and ve_*, which start from it with --init"
        )


@dataclass(frozen=True, kw_only=True)
class E2EVLPPretrainingConfig(PretrainingConfig, SetLossConfig):
    """E2E-VLP eq. 3: masked words + matching + detection + captioning, equal weights."""

    mismatch_rate: float = 0.5
    """Share of pairs with a foreign text (section 3.1.2)."""
    label_smoothing: float = 0.0
    """Of the captioning loss; the paper names it for fine-tuning only."""
    detection: bool = True
    """Whether detection is an objective (off: a data set without boxes)."""
    captioning: bool = True
    """Whether captioning is an objective."""
    image_only_detection_rate: float = 0.0
    """Share of images whose boxes are predicted from the image-only encoding."""

    def __post_init__(self) -> None:
        """Raises ValueError for rates and weights that cannot be."""
        super().__post_init__()
        SetLossConfig.__post_init__(self)
        check(self, SHARE, "mismatch_rate", "image_only_detection_rate")
        check(self, BELOW_ONE, "label_smoothing")
        self.refuse_sampled("detection")

    @property
    def abilities(self) -> tuple[str, ...]:
        """What its model is good for."""
        return ("match", "fill", *("detect",) * self.detection, *("caption",) * self.captioning)

    def build(self, setup: TaskSetup) -> Task:
        """Read the data and build the task."""
        from vlp_fast.tasks.pretraining.e2e_vlp import E2EVLPPretraining

        return E2EVLPPretraining(self, setup)


@dataclass(frozen=True, kw_only=True)
class SohoPretrainingConfig(PretrainingConfig):
    """SOHO eq. 9: masked words + masked visual codes + matching, equal weights."""

    own_texts: int = 2
    """Matching texts of each image in a step (section 4.1)."""
    foreign_texts: int = 2
    """Foreign texts of each image in a step (section 4.1)."""
    masked_codes: bool = True
    """Whether masked visual modelling is an objective; if not, no cell is hidden either."""
    codebook_samples: int = 20000
    """Features of the first batches that k-means starts the dictionary from."""

    def __post_init__(self) -> None:
        """Raises ValueError for rates and counts that cannot be."""
        super().__post_init__()
        check(self, AT_LEAST_ONE, "own_texts", "foreign_texts", "codebook_samples")
        self.refuse_sampled("masked_codes")

    @property
    def abilities(self) -> tuple[str, ...]:
        """What its model is good for."""
        return ("match", "fill", "codes")

    def build(self, setup: TaskSetup) -> Task:
        """Read the data and build the task."""
        from vlp_fast.tasks.pretraining.soho import SohoPretraining

        return SohoPretraining(self, setup)
