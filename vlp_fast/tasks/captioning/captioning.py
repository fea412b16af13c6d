"""Captioning: the decoder writes what the encoder has seen (E2E-VLP sections 3.1.3 and 5.1).

The encoder sees the picture alone. A step teaches one caption of each picture, drawn anew in each
epoch: an epoch is a pass over the pictures, not over their captions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from vlp_fast.data.examples import Example
from vlp_fast.data.randomness import generator
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources.captioned import captioned_root, listed_pictures
from vlp_fast.data.submissions.captions import check_name, official_split, write_captions
from vlp_fast.data.submissions.complete import refuse_partial
from vlp_fast.errors import InputError
from vlp_fast.layers.beam_search import beam_search
from vlp_fast.layers.sampling import greedy
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.ops.packing import Packing, make_packing
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.captioning.config import CaptioningConfig
from vlp_fast.tasks.captioning.figures import all_captions, caption_figures, remarks_on
from vlp_fast.tasks.captioning.picture import draw_captions
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.inputs import flat
from vlp_fast.tasks.pretraining.captioning import shift
from vlp_fast.tasks.pretraining.itm import draw_own_captions
from vlp_fast.tasks.reading import read_splits
from vlp_fast.tasks.sequences import Sequences, lay_out
from vlp_fast.tasks.step import StepOutput, accuracy, mean_cross_entropy
from vlp_fast.tasks.task import Figures, Learner, Task


@dataclass(frozen=True, kw_only=True)
class CaptionInputs(Sequences):
    """B pictures, each a sequence of its own without a text, and a caption of each.

    Attributes:
        indices: of the pictures in their data set.
        is_broken: whether another picture is shown than the one that was asked for.
        caption_ids: (sum L,) int64, what the decoder reads.
        caption_targets: (sum L,) int64, what it answers.
        caption_packing: their B sequences.
    """

    indices: tuple[int, ...]
    is_broken: tuple[bool, ...]
    caption_ids: Tensor
    caption_targets: Tensor
    caption_packing: Packing


class Captioning(Task):
    """Teacher forcing in training; captions by beam search for figures and submissions."""

    settings: CaptioningConfig
    curves: ClassVar = ("captioning",)
    panel_rows = 2

    def read(self) -> tuple[Dataset, Dataset]:
        """Pictures with captions; of a split that is only handed in, pictures."""
        data = self.setup.data
        pictures = listed_pictures(data) if len(data.root) == 1 else None
        if pictures is None:
            return read_splits(self.setup)
        seen = replace(self.setup, data=replace(data, held_out_split=data.train_split))
        return read_splits(seen)[0], pictures

    @property
    def has_truth(self) -> bool:
        """Whether anybody captioned the held-out pictures."""
        return not self.held_out.is_unannotated

    def notes(self) -> dict[str, list[str]]:
        """Why there are no figures, where there are none."""
        notes = super().notes()
        if not self.has_truth:
            notes["held out"].append(
                f"the files have no captions of {self.held_out.name}, and there are no figures of "
                "it; `vlp-fast submit` writes a run's own for the server"
            )
        return notes

    def check(self) -> None:
        """A system without a decoder writes nothing, and a search has no more beams than words."""
        if not hasattr(self.setup.model, "decoder_layers"):
            raise InputError(
                "captioning needs a decoder, which E2E-VLP has and SOHO has not; give the recipe "
                "of an E2E-VLP, as captioning_e2e_vlp_r50_6"
            )
        if self.settings.beams > self.tokenizer.vocab_size:
            raise InputError(
                f"--task.beams {self.settings.beams}: the vocabulary has "
                f"{self.tokenizer.vocab_size} words, and no search has more beams; give fewer"
            )

    def collate(self, examples: list[Example], key: BatchKey) -> CaptionInputs:
        """Draw a caption of each picture, pad and pack, on the host."""
        length, captions = self.setup.data.max_text_length, []
        for example in examples:
            draw = generator(self.setup.seed, key.epoch, example.index, "caption")
            captioned = example.captions or ("",)  # of a split that is only handed in
            (text,) = draw_own_captions(captioned, 1, draw)
            captions.append(shift(self.tokenizer.encode(text, length)))
        lengths = [len(read) for read, _ in captions]
        nothing: list[list[int]] = [[] for _ in examples]
        return CaptionInputs(
            **lay_out(examples, nothing, range(len(examples)), self.learner.model),
            image_ids=tuple(example.image_id for example in examples),
            problems=tuple(example.problem for example in examples if example.problem),
            indices=tuple(example.index for example in examples),
            is_broken=tuple(example.problem is not None for example in examples),
            caption_ids=flat([read for read, _ in captions]),
            caption_targets=flat([answer for _, answer in captions]),
            caption_packing=make_packing(lengths, [-1] * len(lengths), None),
        )

    def forward(self, learner: Learner, inputs: CaptionInputs) -> StepOutput:
        """Cross entropy of each next word, smoothed (eq. 2)."""
        return self.taught(self.memory(inputs), inputs)

    def taught(self, memory: Tensor, inputs: CaptionInputs) -> StepOutput:
        """Losses and counts of the captions, each word given those in front of it."""
        captions = inputs.caption_ids, inputs.caption_packing
        logits = self.model.caption_logits(*captions, memory, inputs.grid, inputs.packing)
        smoothing, targets = self.settings.label_smoothing, inputs.caption_targets
        loss = mean_cross_entropy(logits, targets, label_smoothing=smoothing)
        return StepOutput(
            losses={"captioning": loss}, counts={"captioning": accuracy(logits, targets)}
        )

    def memory(self, inputs: CaptionInputs) -> Tensor:
        """(T, D), what captions are written from."""
        seen = self.model.see(inputs.images, inputs.grid, inputs.image_sizes)
        return self.model.read(inputs.text_ids, seen, inputs.grid, inputs.packing)

    def written(self, memory: Tensor, inputs: CaptionInputs, *, beams: int) -> list[str]:
        """Captions of a batch; by the likeliest word each time, if there is one beam.

        Args:
            memory: of the batch.
            inputs: the batch, on the device.
            beams: of the search.
        """
        start, end = self.tokenizer.cls_id, self.tokenizer.sep_id
        writer = self.model.writer(memory, inputs.grid, inputs.packing, start_id=start)
        # What is taught has at most so many words after [CLS], the end included.
        length = self.setup.data.max_text_length - 1
        if beams == 1:
            texts = greedy(writer, end_id=end, max_length=length)
        else:
            alpha = self.settings.alpha
            texts = beam_search(writer, end_id=end, max_length=length, num_beams=beams, alpha=alpha)
        return [self.tokenizer.caption(row) for row in texts.ids.tolist()]

    def figures(self, held_out: HeldOut) -> Figures:
        """The loss, and how people's captions judge those that are written."""
        return caption_figures(self, held_out) if self.has_truth else {}

    def remarks(self, figures: Figures, held_out: HeldOut) -> list[str]:
        """By how many captions of people those that are written are judged."""
        return remarks_on(held_out) if self.has_truth else []

    def draw(self, figure: Any, held_out: HeldOut) -> None:
        """Held-out pictures with what is written about them."""
        draw_captions(self, figure, held_out)

    def submit(self, held_out: HeldOut, path: Path, say: Callable[[str], None]) -> None:
        """Write a caption of every picture of the split, as COCO's server takes them."""
        data = self.setup.data
        images = self.settings.keys_to_answer(data)
        split = official_split(self.held_out.name, data.held_out_split)
        check_name(path, split)
        refuse_partial(self.held_out, images, captioned_root(data))
        records = self.held_out.records
        captions = {records[i].image_id: text for i, text in all_captions(self, held_out).items()}
        _tell_of_empty(images, captions, say)
        if held_out.team.rank == 0:
            rows = [(image, captions.get(image, "")) for image in images]
            write_captions(path, rows, split=split, image_ids=images)

    @property
    def model(self) -> E2EVLP:
        """The model."""
        assert isinstance(self.learner.model, E2EVLP)
        return self.learner.model


def _tell_of_empty(
    images: Sequence[int], captions: Mapping[int, str], say: Callable[[str], None]
) -> None:
    """Say which pictures have an empty caption, and why."""
    for lacking, why in (
        ([image for image in images if image not in captions], "that cannot be read"),
        ([image for image in images if captions.get(image) == ""], "of which no word is written"),
    ):
        if lacking:
            say(f"{len(lacking)} pictures {why} (the first: {lacking[0]}) have an empty caption")
