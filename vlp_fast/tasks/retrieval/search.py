"""Pictures of one's own and texts of one's own, scored by a trained model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vlp_fast.data.config import DataConfig
from vlp_fast.data.examples import ImageLoader
from vlp_fast.data.records import Dataset
from vlp_fast.data.tokenizer import Tokenizer
from vlp_fast.errors import InputError
from vlp_fast.tasks.retrieval.contest import groups_of
from vlp_fast.tasks.retrieval.scoring import Scorer
from vlp_fast.tasks.retrieval.texts import Texts


@dataclass(frozen=True, kw_only=True)
class Search:
    """A model that looks for things.

    Attributes:
        scorer: of its pairs.
        tokenizer: its words.
        data: sizes of pictures and texts, as the run that trained it had them.
    """

    scorer: Scorer
    tokenizer: Tokenizer
    data: DataConfig

    def loader(self, pictures: Dataset) -> ImageLoader:
        """What decodes pictures, at the size that held-out ones had."""
        return ImageLoader(
            dataset=pictures,
            shorter=self.data.shorter_held_out,
            longer=self.data.longer,
            seed=0,
            max_pixels=self.data.max_pixels,
        )

    def encoded(self, texts: Sequence[str]) -> tuple[Texts, list[str]]:
        """Texts as tokens, and a line for each that the model cannot read as it is.

        Raises:
            InputError: for one without a word.
        """
        tokens, length, remarks = self.tokenizer, self.data.max_text_length, []
        ids = [tokens.encode(text, length) for text in texts]
        for text, own in zip(texts, ids, strict=True):
            words = own[1:-1]
            if not words:
                raise InputError(f"{text!r} has no word; give a text to look for")
            if all(word == tokens.unk_id for word in words):
                remarks.append(f"{text!r}: the run's vocabulary has none of its words")
            elif len(tokens.encode(text, length + 1)) > length:
                remarks.append(f"{text!r} is cut to the {length} tokens that the run reads")
        return Texts(ids), remarks

    def scores(
        self, pictures: Dataset, texts: Texts, progress: Callable[[int, int], None]
    ) -> tuple[np.ndarray, list[str]]:
        """(B, n) float32 scores of every picture with every text, and what broken ones have.

        A broken picture has -inf.
        """
        scores = np.empty((len(pictures), len(texts)), np.float32)
        loader, broken, done = self.loader(pictures), [], 0
        for group in groups_of(pictures, range(len(pictures)), len(texts)):
            show = lambda number: loader.show(number, 0, 0)
            scores[group], problems = self.scorer.group_scores(group, show, texts)
            broken += problems
            done += len(group)
            progress(done, len(pictures))
        return scores[:, texts.places], broken


def best(scores: np.ndarray, count: int) -> tuple[np.ndarray, int]:
    """Numbers of the best of (n,) scores, -inf left out, and how many more equal the last of them.

    Equal ones come in their own order.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[~np.isneginf(scores[order])]
    shown = order[:count]
    more = int((scores[order[count:]] == scores[shown[-1]]).sum()) if len(shown) else 0
    return shown, more
