"""A batch of samples: each picture once, and the text of a sample beside each of its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vlp_fast.data.examples import Example
from vlp_fast.data.sample_loader import SampleExample
from vlp_fast.models.model import VisionLanguageModel
from vlp_fast.tasks.sequences import Sequences, lay_out


@dataclass(frozen=True, kw_only=True)
class SampleInputs(Sequences):
    """N samples: a sequence for each of a sample's pictures, sample after sample.

    Attributes:
        targets: what a task's loss compares with, by name.
        indices: of the samples in their data set.
        asked: of those that were asked for; others where these are broken.
    """

    targets: dict[str, Tensor]
    indices: tuple[int, ...]
    asked: tuple[int, ...]


def collate_samples(
    examples: Sequence[SampleExample],
    texts: Sequence[list[int]],
    targets: dict[str, Tensor],
    model: VisionLanguageModel,
) -> SampleInputs:
    """Pad each picture once, however many samples show it, and lay texts beside them.

    Args:
        examples: N samples with their pictures.
        texts: token ids of each.
        targets: of all of them.
        model: that is to see the pictures.
    """
    shown: dict[int, Example] = {}
    for example in examples:
        shown |= {picture.index: picture for picture in example.pictures}
    places = {index: place for place, index in enumerate(shown)}
    beside = [
        (ids, places[picture.index])
        for example, ids in zip(examples, texts, strict=True)
        for picture in example.pictures
    ]
    return SampleInputs(
        **lay_out(
            list(shown.values()), [ids for ids, _ in beside], [place for _, place in beside], model
        ),
        image_ids=tuple(example.sample.key for example in examples),
        problems=tuple(example.problem for example in examples if example.problem),
        targets=targets,
        indices=tuple(example.index for example in examples),
        asked=tuple(example.asked for example in examples),
    )
