"""A batch of pictures with the texts that they are read with, and the boxes in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlp_fast.data.examples import Example
from vlp_fast.data.records import Dataset
from vlp_fast.models.model import VisionLanguageModel
from vlp_fast.ops import Targets
from vlp_fast.tasks.detection.set_prediction import detection_targets
from vlp_fast.tasks.sequences import Sequences, lay_out


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The pixels that a picture's objects are annotated in.

    Attributes:
        height: in pixels.
        width: in pixels.
        turn: how it is turned to be the picture that the model sees, as EXIF numbers it.
        is_asked: False where the picture stands in for a broken one.
    """

    height: int
    width: int
    turn: int
    is_asked: bool


@dataclass(frozen=True, kw_only=True)
class DetectionInputs(Sequences):
    """B pictures, each read once in every column: B sequences of a column, then of the next.

    Attributes:
        targets: boxes of the B pictures.
        frames: of each, where answers are to be placed in them; none in training.
    """

    targets: Targets
    frames: tuple[Frame, ...]


def collate_columns(
    examples: Sequence[Example],
    columns: Sequence[Sequence[list[int]]],
    frames: Sequence[Frame],
    model: VisionLanguageModel,
) -> DetectionInputs:
    """Pad each picture once, and lay the texts of each column beside it.

    Args:
        examples: B pictures.
        columns: of each column, the token ids read with each picture; none for the picture alone.
        frames: of each picture, or none.
        model: that is to see them.
    """
    return DetectionInputs(
        **lay_out(
            examples,
            [ids for texts in columns for ids in texts],
            [*range(len(examples))] * len(columns),
            model,
        ),
        image_ids=tuple(example.image_id for example in examples),
        problems=tuple(example.problem for example in examples if example.problem),
        targets=detection_targets(list(examples)),
        frames=tuple(frames),
    )


def frames_of(examples: Sequence[Example], dataset: Dataset) -> list[Frame]:
    """The frames that pictures of a data set are annotated in."""
    sizes = dataset.table.sizes[[example.index for example in examples]].tolist()
    return [
        Frame(height=height, width=width, turn=e.turn, is_asked=e.problem is None)
        for e, (width, height) in zip(examples, sizes, strict=True)
    ]
