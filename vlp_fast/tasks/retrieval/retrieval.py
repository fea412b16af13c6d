"""Image-text retrieval: which picture is a text about, and which text is about a picture?

The score of a pair is the log odds of the matching head on [CLS], as pre-training has learnt it:
logit of a match minus logit of none, float32 whatever the model computes in. Both papers' losses
are made of these scores; `binary.py` and `circle.py` have them.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from vlp_fast.data.examples import Example, ImageLoader
from vlp_fast.data.given_paths import only_root, shown_roots
from vlp_fast.data.records import Dataset
from vlp_fast.errors import InputError
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.held_out import HeldOut, Runtime
from vlp_fast.tasks.retrieval.config import RetrievalConfig
from vlp_fast.tasks.retrieval.match_score import match_scores
from vlp_fast.tasks.retrieval.pairing import Pairing, Pairs, padded
from vlp_fast.tasks.retrieval.picture import draw_best
from vlp_fast.tasks.retrieval.ranking import Ranking, ranked
from vlp_fast.tasks.retrieval.scoring import Scorer
from vlp_fast.tasks.sequences import Sequences, lay_out
from vlp_fast.tasks.step import StepOutput
from vlp_fast.tasks.task import Figures, Learner, Task


@dataclass(frozen=True, kw_only=True)
class RetrievalInputs(Sequences):
    """B pictures, and S texts beside them.

    Attributes:
        own: (B,) int64, the sequence of each picture with its own text.
        other_images: (B, K) int64, sequences of that text with foreign pictures.
        is_other_image: (B, K) bool, where there is one.
        other_texts: (B, J) int64, sequences of the picture with foreign texts.
        is_other_text: (B, J) bool, where there is one.
    """

    own: Tensor
    other_images: Tensor
    is_other_image: Tensor
    other_texts: Tensor
    is_other_text: Tensor


class Retrieval(Task):
    """Pictures with captions, paired within a batch; recall both ways."""

    settings: RetrievalConfig
    curves: ClassVar = ("retrieval",)
    panel_rows = 2
    _latest: Ranking | None = None

    @abstractmethod
    def pairs(self, pairing: Pairing, key: BatchKey) -> Pairs:
        """Which pictures are shown with which texts."""

    @abstractmethod
    def loss(self, scores: Tensor, inputs: RetrievalInputs) -> Tensor:
        """The loss of (S,) float32 scores."""

    def read(self) -> tuple[Dataset, Dataset]:
        """Captions; boxes are of no use."""
        only_root(self.setup.data)
        train, held_out = super().read()
        if train.has_one_caption():
            raise InputError(
                f"{shown_roots(self.setup.data.root)}: {train.name} has one caption only, and "
                "nothing to tell pictures apart by; add pictures with other captions"
            )
        if self.settings.hard_texts:
            _ = train.near_texts  # before workers fork, which would each make it
        return train, held_out

    def encode(self, text: str) -> list[int]:
        """Token ids `[CLS] .. [SEP]`."""
        return self.tokenizer.encode(text, self.setup.data.max_text_length)

    def collate(self, examples: list[Example], key: BatchKey) -> RetrievalInputs:
        """Draw texts, pair them with the pictures, pad each of these once."""
        pairing = Pairing(examples, key, self.encode, seed=self.setup.seed)
        pairs = self.pairs(pairing, key)
        other_images, is_other_image = padded(pairs.other_images)
        other_texts, is_other_text = padded(pairs.other_texts)
        return RetrievalInputs(
            **lay_out(examples, pairs.texts, pairs.image_of, self.learner.model),
            image_ids=tuple(e.image_id for e in examples),
            problems=tuple(e.problem for e in examples if e.problem),
            own=torch.tensor(pairs.own, dtype=torch.int64, device="cpu"),
            other_images=other_images,
            is_other_image=is_other_image,
            other_texts=other_texts,
            is_other_text=is_other_text,
        )

    def forward(self, learner: Learner, inputs: RetrievalInputs) -> StepOutput:
        """The loss, and how many texts and pictures find one another within the batch."""
        model = learner.model
        seen = model.see(inputs.images, inputs.grid, inputs.image_sizes, codes=self.settings.codes)
        rows = model.read_first(inputs.text_ids, seen, inputs.grid, inputs.packing)
        scores = match_scores(model, rows)
        own = scores[inputs.own]
        found = [
            (own > best_of(scores, numbers, is_there)).sum()
            for numbers, is_there in (
                (inputs.other_images, inputs.is_other_image),
                (inputs.other_texts, inputs.is_other_text),
            )
        ]
        count = torch.full_like(found[0], 2 * len(own))
        return StepOutput(
            losses={"retrieval": self.loss(scores, inputs)},
            counts={"retrieval": (found[0] + found[1], count)},
        )

    def figures(self, held_out: HeldOut) -> Figures:
        """The loss, and recall of every held-out picture with every caption."""
        figures = super().figures(held_out)
        self._latest = ranked(self, held_out)
        return figures | self._latest.figures()

    def remarks(self, figures: Figures, held_out: HeldOut) -> list[str]:
        """What was ranked, and how many ties there were."""
        return list(self._latest.lines) if self._latest else []

    def draw(self, figure: Any, held_out: HeldOut) -> None:
        """Captions, and the pictures that are found for them."""
        draw_best(self, figure, held_out)

    def show_held_out(self, index: int) -> Example:
        """A held-out picture itself, where `held_out_examples` would show another for a broken one.

        Raises:
            BrokenImage: if it cannot be used.
        """
        assert isinstance(self.held_out_examples, ImageLoader)
        return self.held_out_examples.show(index, 0, 0)

    def scorer(self, runtime: Runtime) -> Scorer:
        """What scores pairs by the learner."""
        return Scorer(
            model=self.learner.model,
            runtime=runtime,
            codes=self.settings.codes,
            rows=self.settings.rows_at_once,
        )


def best_of(scores: Tensor, numbers: Tensor, is_there: Tensor) -> Tensor:
    """The highest of the (S,) scores of each row of (B, K) numbers, -inf where there is none."""
    lowest = scores.new_full((len(numbers), 1), -torch.inf)
    each = scores[numbers].masked_fill(~is_there, -torch.inf)
    return torch.cat([lowest, each], dim=1).amax(1)
