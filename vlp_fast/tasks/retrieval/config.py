"""Settings of image-text retrieval (torch-free)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlp_fast.checks import AT_LEAST_ONE, NOT_NEGATIVE, SHARE, check
from vlp_fast.data.config import DataConfig
from vlp_fast.data.given_paths import only_root
from vlp_fast.errors import InputError
from vlp_fast.tasks.config import TaskConfig, TaskSetup

if TYPE_CHECKING:
    from vlp_fast.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig(TaskConfig):
    """What both losses have: how held-out pictures and texts are ranked."""

    codes: bool = False
    """SOHO: read the codes of the dictionary; off, the features in front of it (section 4.2)."""
    captions: Literal["all", "five"] = "all"
    """Of each held-out picture: all, or the first five, where COCO has six or seven."""
    fold: int = 0
    """Held-out pictures that are ranked among themselves, one fold behind another in the order of
    the file, and figures are means of the folds: 1000 for COCO's 1K. 0: all at once."""
    shortlist: int = 0
    """Score only so many texts of each picture and pictures of each text: those that are best by
    pictures of four by four averaged cells. Faster, and not exact. 0: every pair."""
    hard_texts: int = 0
    """Texts of other pictures that differ from the own one in one word, beside each picture:
    without them nothing teaches what a word like "above" changes. Fewer where there are
    fewer; with E2E-VLP's loss they are the first of its foreign texts."""
    rows_at_once: int = 8192
    """Rows, of texts and pictures, that are computed at once in ranking: what a GPU is filled with.
    """

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that cannot be."""
        check(self, NOT_NEGATIVE, "fold", "shortlist", "hard_texts")
        check(self, AT_LEAST_ONE, "rows_at_once")

    @property
    def abilities(self) -> tuple[str, ...]:
        """What its model is good for."""
        return ("match",)

    def look_first(self, data: DataConfig) -> None:
        """Pictures and captions of one data set are ranked."""
        only_root(data)

    def look_before_submission(self, data: DataConfig) -> None:
        """Nobody takes rankings."""
        raise InputError(
            "a run of retrieval has no answers to hand in; `vlp-fast evaluate` ranks its held-out "
            "split, `vlp-fast retrieve` your own pictures"
        )


@dataclass(frozen=True, kw_only=True)
class BinaryRetrievalConfig(RetrievalConfig):
    """SOHO: is this the text of this picture? Every picture with every text of the batch."""

    def build(self, setup: TaskSetup) -> Task:
        """Read the data and build the task."""
        from vlp_fast.tasks.retrieval.binary import BinaryRetrieval

        return BinaryRetrieval(self, setup)


@dataclass(frozen=True, kw_only=True)
class CircleRetrievalConfig(RetrievalConfig):
    """E2E-VLP: circle loss of a true pair among sampled foreign ones, as ERNIE-ViL has it."""

    image_negatives: int = 10
    """Foreign pictures of each text, drawn from its batch; fewer where that has fewer."""
    text_negatives: int = 10
    """Foreign texts of each picture, drawn from the data set."""
    margin: float = 0.3
    """m: scores (0 to 1) of true pairs aim at 1 - m and above, of foreign ones at m and below."""
    scale: float = 32.0
    """gamma: how sharply."""

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that cannot be."""
        super().__post_init__()
        check(self, NOT_NEGATIVE, "image_negatives", "text_negatives", "scale")
        check(self, SHARE, "margin")
        if not self.image_negatives + self.text_negatives:
            raise ValueError(
                "CircleRetrievalConfig: received image_negatives = text_negatives = 0, expected a "
                "foreign picture or text"
            )

    def build(self, setup: TaskSetup) -> Task:
        """Read the data and build the task."""
        from vlp_fast.tasks.retrieval.circle import CircleRetrieval

        return CircleRetrieval(self, setup)
