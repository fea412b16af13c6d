"""Texts with the pictures that they are about: the part of a batch that both models read alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vlp_fast.data.examples import Example
from vlp_fast.models.model import VisionLanguageModel
from vlp_fast.ops.packing import Packing, make_packing
from vlp_fast.tasks.images import Pictures, batch_images
from vlp_fast.tasks.inputs import flat


@dataclass(frozen=True, kw_only=True)
class Sequences(Pictures):
    """B pictures and S texts, each about one of them; a task adds what it needs besides.

    Attributes:
        packing: the S sequences of text and picture.
        text_ids: (sum L,) int64, [CLS] first in each.
        image_ids: identities of the samples.
        problems: what was wrong with the samples, for the log.
    """

    packing: Packing
    text_ids: Tensor
    image_ids: tuple[int | str, ...]
    problems: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """Rows of all sequences, words and cells of pictures."""
        return self.packing.num_rows

    def first_rows(self, model: VisionLanguageModel, *, codes: bool = False) -> Tensor:
        """(S, D), what the model makes of [CLS] in each sequence; the CNN runs once a picture.

        Args:
            model: either system.
            codes: SOHO: read the codes of its dictionary, not the features in front of it.
        """
        seen = model.see(self.images, self.grid, self.image_sizes, codes=codes)
        rows = model.read(self.text_ids, seen, self.grid, self.packing)
        return rows.index_select(0, self.packing.first_rows)


def lay_out(
    pictures: Sequence[Example],
    texts: Sequence[list[int]],
    image_of: Sequence[int],
    model: VisionLanguageModel,
) -> dict[str, Any]:
    """The fields of `Sequences`, but for `image_ids` and `problems`, on the host.

    Args:
        pictures: B decoded pictures.
        texts: S texts as token ids.
        image_of: the picture of each.
        model: that is to see them.
    """
    images, sizes, grid = batch_images(pictures, model)
    return {
        "images": images,
        "image_sizes": sizes,
        "grid": grid,
        "packing": make_packing([len(text) for text in texts], image_of, grid),
        "text_ids": flat(list(texts)),
    }
