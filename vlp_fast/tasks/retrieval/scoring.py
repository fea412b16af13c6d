"""Scores of pictures with texts: a picture through the CNN once, a text beside it in a few rows.

The work is cut in one way, whatever the processes and whoever was stopped: pictures are seen one by
one, without padding; texts of one length stand beside pictures of one size, so many at a time as
`rows` allow; nothing is padded. So every score is the same bits in each run with these texts and
`rows`, on one kind of device with one number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from vlp_fast.data.broken_image import BrokenImage
from vlp_fast.data.examples import Example
from vlp_fast.errors import InputError
from vlp_fast.models.model import Seen, VisionLanguageModel
from vlp_fast.ops.grid import make_grid
from vlp_fast.tasks.held_out import Runtime
from vlp_fast.tasks.images import batch_images
from vlp_fast.tasks.retrieval.match_score import match_scores
from vlp_fast.tasks.retrieval.texts import Texts


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """A picture as a model has seen it.

    Attributes:
        cells: (C, D), on the device.
        size: (height, width) in cells.
    """

    cells: Tensor
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Scores pairs by a model in eval mode.

    Attributes:
        model: of either system.
        runtime: where it computes.
        codes: SOHO: read the codes of the dictionary instead of the features.
        rows: computed at once, of texts and pictures together.
    """

    model: VisionLanguageModel
    runtime: Runtime
    codes: bool = False
    rows: int = 8192

    def group_scores(
        self,
        group: Sequence[int],
        show: Callable[[int], Example],
        texts: Texts,
        *,
        wanted: np.ndarray | None = None,
        changed: Callable[[Look], Look] = lambda look: look,
    ) -> tuple[np.ndarray, list[str]]:
        """(n, S) float32 scores of n pictures, and what is wrong with those that are broken.

        Args:
            group: numbers of the pictures.
            show: decodes the picture of a number, or raises `BrokenImage`: its scores are -inf.
            texts: S distinct ones.
            wanted: (n, S) bool, pairs to score; the others are -inf. None for all.
            changed: what becomes of a picture before texts are read beside it.

        Raises:
            InputError: for scores that are NaN.
        """
        looks: dict[int, Look] = {}
        broken: list[str] = []
        for place, number in enumerate(group):
            try:
                looks[place] = changed(self.look(show(number)))
            except BrokenImage as error:
                broken.append(str(error))
        scores = np.full((len(group), len(texts)), -np.inf, np.float32)
        of_these = None if wanted is None else wanted[list(looks)]
        scores[list(looks)] = self.scores(list(looks.values()), texts, of_these)
        if np.isnan(scores).any():
            raise InputError(
                "scores are NaN, which ranks nowhere; look at the losses of the run, and give "
                "--train.precision fp32 if it was trained in another"
            )
        return scores, broken

    @torch.no_grad()
    def look(self, example: Example) -> Look:
        """Show the model a picture."""
        images, sizes, grid = batch_images([example], self.model)
        device = self.runtime.device
        with self.runtime.autocast():
            seen = self.model.see(images.to(device), grid.to(device), sizes, codes=self.codes)
        return Look(cells=seen.cells, size=grid.sizes[0])

    @torch.no_grad()
    def scores(
        self, looks: Sequence[Look], texts: Texts, wanted: np.ndarray | None = None
    ) -> np.ndarray:
        """(B, S) float32, the log odds that each distinct text is about each picture.

        Those of pairs that are not `wanted`, (B, S) bool, are -inf.
        """
        if wanted is not None:
            return self._some_scores(looks, texts, wanted)
        found = torch.empty(len(looks), len(texts), device=self.runtime.device)
        order = sorted(range(len(looks)), key=lambda place: (looks[place].size, place))
        by_size = groupby((looks[place] for place in order), key=lambda look: look.size)
        start = 0
        with self.runtime.autocast():  # around all of it: casts of weights are kept within
            for size, alike in by_size:
                cells = [look.cells for look in alike]
                self._score_alike(found[start : start + len(cells)], size, cells, texts)
                start += len(cells)
        scores = np.empty(found.shape, np.float32)
        scores[order] = found.cpu().numpy()
        return scores

    def _some_scores(self, looks: Sequence[Look], texts: Texts, wanted: np.ndarray) -> np.ndarray:
        """Picture by picture, each with its own texts."""
        scores = np.full(wanted.shape, -np.inf, np.float32)
        for look, row, is_wanted in zip(looks, scores, wanted, strict=True):
            some = Texts([texts.distinct[place] for place in np.flatnonzero(is_wanted)])
            if len(some):  # they are sorted, and stay so
                row[is_wanted] = self.scores([look], some)[0]
        return scores

    def _score_alike(
        self, found: Tensor, size: tuple[int, int], cells: list[Tensor], texts: Texts
    ) -> None:
        """Fill in the rows of pictures of one size."""
        device = self.runtime.device
        for first, ids in texts.of_one_length():
            ids = ids.to(device)
            for images, some in self._blocks(len(cells), size, ids):
                seen = Seen(cells=torch.cat(cells[images]))
                grid = make_grid([size] * (images.stop - images.start), size).to(device)
                rows = self.model.read_all_pairs(ids[some], seen, grid)
                columns = slice(first + some.start, first + some.stop)
                found[images, columns] = match_scores(self.model, rows)

    def _blocks(
        self, count: int, size: tuple[int, int], ids: Tensor
    ) -> Iterator[tuple[slice, slice]]:
        """Which of so many pictures meet which texts at a time."""
        number, length = ids.shape
        pairs = max(1, self.rows // (length + size[0] * size[1]))
        for texts in _cut(number, pairs):
            for images in _cut(count, max(1, pairs // (texts.stop - texts.start))):
                yield images, texts


def _cut(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
