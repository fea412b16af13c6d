"""Joint pre-training of E2E-VLP (section 3.2, eq. 3): MLM + ITM + detection + captioning.

One encoder call holds 2B sequences: B of `[text | grid]`, then B of the grid alone. Captions
are written from the second kind, because the first would show the caption to its own writer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast.data.examples import Example
from vlp_fast.data.randomness import generator
from vlp_fast.metrics.average_precision import AveragePrecision
from vlp_fast.models.e2e_vlp import E2EVLP, Detections
from vlp_fast.ops import Targets
from vlp_fast.ops.packing import Packing, make_packing, select_sequences
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.detection.notes import detection_notes
from vlp_fast.tasks.detection.set_prediction import (
    DetectionWeights,
    Prediction,
    detection_loss,
    detection_targets,
    matched_attribute_accuracy,
    predictions,
    truth,
)
from vlp_fast.tasks.encoding import encode_images
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.images import batch_images
from vlp_fast.tasks.inputs import flat
from vlp_fast.tasks.pretraining.captioning import shift
from vlp_fast.tasks.pretraining.config import E2EVLPPretrainingConfig
from vlp_fast.tasks.pretraining.itm import draw_own_captions
from vlp_fast.tasks.pretraining.pairs import Pairs
from vlp_fast.tasks.pretraining.picture import draw_words_and_boxes
from vlp_fast.tasks.pretraining.pretraining import Pretraining
from vlp_fast.tasks.pretraining.texts import chosen_rows
from vlp_fast.tasks.step import StepOutput, accuracy, mean_cross_entropy
from vlp_fast.tasks.task import Figures, Learner

Shown = tuple[Any, Any, Any, Any]


@dataclass(frozen=True, kw_only=True)
class E2EVLPInputs(Pairs):
    """One step's tensors. B images, 2B sequences: joint first, then image-only.

    Without an objective that reads image-only sequences there are none of them.

    Attributes:
        packing: the sequences.
        text_ids: (sum L,) int64 of the B joint sequences.
        is_matched: (B,) int64, 1 where the text belongs to the image.
        targets: the boxes.
        detection_rows: rows of the B sequences that detection reads.
        detection_packing: their packing.
        image_rows: rows of the B image-only sequences.
        image_packing: their packing.
        caption_ids, caption_targets, caption_packing: what the decoder reads and answers.
    """

    targets: Targets
    detection_rows: Tensor
    detection_packing: Packing
    image_rows: Tensor
    image_packing: Packing
    caption_ids: Tensor
    caption_targets: Tensor
    caption_packing: Packing


class E2EVLPPretraining(Pretraining):
    """E2E-VLP's pre-training: batches in, losses out; average precision of its boxes."""

    curves: ClassVar = ("mlm", "itm", "captioning", "detection")
    settings: E2EVLPPretrainingConfig

    def collate(self, examples: list[Example], key: BatchKey) -> E2EVLPInputs:
        """Pair, corrupt, pad and pack one batch, on the host."""
        count = len(examples)
        images, image_sizes, grid = batch_images(examples, self.learner.model)
        texts, is_matched, captions, from_image = [], [], [], []
        for example in examples:
            draw = generator(self.setup.seed, key.epoch, example.index, "pairs")
            text, caption = draw_own_captions(example.captions, 2, draw)
            matched = bool(draw.random() >= self.settings.mismatch_rate)
            if not matched:
                text = self.foreign_caption(example, draw, key)
            from_image.append(bool(draw.random() < self.settings.image_only_detection_rate))
            texts.append(self.corruption.mask(text, draw))
            is_matched.append(matched)
            captions.append(shift(self.corruption.ids(caption)))
        lengths = [len(text.ids) for text in texts]
        alone = range(count if self.reads_alone else 0)
        packing = make_packing(
            (*lengths, *(0 for _ in alone)),
            (*range(count), *alone),
            grid,
            chosen=(*self.sampled_cells(examples, grid, key), *(None for _ in alone)),
        )
        rows, words = chosen_rows(texts, packing.starts[:count], is_matched)
        seen_by_detection = [i + len(alone) * picked for i, picked in enumerate(from_image)]
        detection_rows, detection_packing = select_sequences(packing, seen_by_detection)
        image_rows, image_packing = select_sequences(packing, [count + i for i in alone])
        return E2EVLPInputs(
            images=images,
            image_sizes=image_sizes,
            grid=grid,
            packing=packing,
            text_ids=flat([text.ids for text in texts]),
            masked_rows=rows,
            masked_targets=words,
            is_matched=torch.tensor(is_matched, dtype=torch.int64, device="cpu"),
            targets=detection_targets(examples),
            detection_rows=detection_rows,
            detection_packing=detection_packing,
            image_rows=image_rows,
            image_packing=image_packing,
            caption_ids=flat([read for read, _ in captions]),
            caption_targets=flat([answer for _, answer in captions]),
            caption_packing=make_packing([len(read) for read, _ in captions], [-1] * count, None),
            image_ids=tuple(e.image_id for e in examples),
            problems=tuple(e.problem for e in examples if e.problem),
        )

    def forward(self, learner: Learner, inputs: E2EVLPInputs) -> StepOutput:
        """All four losses of eq. 3 with the counts that the log shows."""
        model = self.model
        seen = model.see(inputs.images, inputs.grid, inputs.image_sizes)
        memory = model.read(inputs.text_ids, seen, inputs.grid, inputs.packing)
        words = model.masked_word_logits(memory.index_select(0, inputs.masked_rows))
        first = inputs.packing.first_rows[: inputs.is_matched.numel()]
        pairs = model.match_logits(memory.index_select(0, first))
        losses = {
            "mlm": mean_cross_entropy(words, inputs.masked_targets),
            "itm": functional.cross_entropy(pairs.float(), inputs.is_matched),
        }
        counts = {
            "mlm": accuracy(words, inputs.masked_targets),
            "itm": accuracy(pairs, inputs.is_matched),
        }
        parts: dict[str, Tensor] = {}
        if self.settings.detection:
            self._detect(model, inputs, memory, losses, parts, counts)
        if self.settings.captioning:
            logits = model.caption_logits(
                inputs.caption_ids,
                inputs.caption_packing,
                memory.index_select(0, inputs.image_rows),
                inputs.grid,
                inputs.image_packing,
            )
            losses["captioning"] = mean_cross_entropy(
                logits, inputs.caption_targets, label_smoothing=self.settings.label_smoothing
            )
            counts["captioning"] = accuracy(logits, inputs.caption_targets)
        return StepOutput(losses=losses, parts=parts, counts=counts)

    def _detect(
        self,
        model: E2EVLP,
        inputs: E2EVLPInputs,
        memory: Tensor,
        losses: dict[str, Tensor],
        parts: dict[str, Tensor],
        counts: dict[str, tuple[Tensor, Tensor]],
    ) -> None:
        found = model.detect(
            memory.index_select(0, inputs.detection_rows), inputs.grid, inputs.detection_packing
        )
        losses["detection"], terms = detection_loss(
            found.logits,
            found.boxes,
            found.attribute_logits,
            inputs.targets,
            DetectionWeights.of(self.settings),
        )
        parts.update({f"detection_{name}": value for name, value in terms.items()})
        if not model.training and found.attribute_logits is not None:
            counts.update(
                matched_attribute_accuracy(
                    found.logits[-1], found.boxes[-1], found.attribute_logits[-1], inputs.targets
                )
            )

    @property
    def reads_alone(self) -> bool:
        """Whether an objective reads pictures without a text."""
        return self.settings.detection or self.settings.captioning

    @property
    def needs_boxes(self) -> bool:  # type: ignore[override]
        """Where detection is an objective."""
        return self.settings.detection

    def notes(self) -> dict[str, list[str]]:
        """Images with more boxes than the model has queries; a package that scores need."""
        if not self.settings.detection:
            return super().notes()
        return detection_notes(self.train, self.held_out, self.model.query_positions.num_embeddings)

    def figures(self, held_out: HeldOut) -> Figures:
        """Those of pre-training, and average precision of the boxes."""
        found = self._detection(held_out) if self.settings.detection else {}
        return super().figures(held_out) | found

    def _detection(self, held_out: HeldOut) -> Figures:
        """AP and AP50 from the image-only encoding, and with the batch's texts (half foreign)."""
        model, names = self.model, self.held_out.class_names

        def measure(inputs: E2EVLPInputs) -> tuple[Shown, Shown]:
            with held_out.runtime.autocast():
                seen = model.see(inputs.images, inputs.grid, inputs.image_sizes)
                memory = model.read(inputs.text_ids, seen, inputs.grid, inputs.packing)
                with_text = select_sequences(inputs.packing, range(len(inputs.image_ids)))
                joint, alone = (
                    model.detect(memory[rows], inputs.grid, packing)
                    for rows, packing in (with_text, (inputs.image_rows, inputs.image_packing))
                )
            return shown_boxes(joint, inputs), shown_boxes(alone, inputs)

        joint, alone = AveragePrecision(names), AveragePrecision(names)
        for with_text, without in held_out.measured(measure):
            joint.add(*with_text)
            alone.add(*without)
        figures = {f"{name}_with_text": value for name, value in joint.summary().items()}
        return {**alone.summary(), **figures}

    def captions(self, held_out: HeldOut, examples: list[Example]) -> list[str] | None:
        """Greedy captions of pictures, from the image-only encoding."""
        if not self.settings.captioning:
            return None
        model, tokenizer = self.model, self.tokenizer
        memory, grid, packing = encode_images(model, held_out.runtime, examples)
        with held_out.runtime.autocast():
            ids = model.generate(
                memory,
                grid,
                packing,
                start_id=tokenizer.cls_id,
                end_id=tokenizer.sep_id,
                max_length=self.setup.data.max_text_length,
            )
        return [tokenizer.caption(row) for row in ids.tolist()]

    def detections(self, held_out: HeldOut, examples: list[Example]) -> list[Prediction]:
        """Boxes found in pictures, from the image-only encoding."""
        memory, grid, packing = encode_images(self.model, held_out.runtime, examples)
        with held_out.runtime.autocast():
            found = self.model.detect(memory, grid, packing)
        return predictions(found.logits[-1], found.boxes[-1], None)

    panel_rows = 2

    def draw(self, figure: Any, held_out: HeldOut) -> None:
        """Masked words; boxes and captions."""
        draw_words_and_boxes(self, figure, held_out)

    @property
    def model(self) -> E2EVLP:
        """The model without heads of other tasks."""
        assert isinstance(self.learner.model, E2EVLP)
        return self.learner.model


def shown_boxes(found: Detections, inputs: E2EVLPInputs) -> Shown:
    """What average precision is told of a batch: true boxes, and those that the last layer found.

    Returns:
        The arguments of `AveragePrecision.add`, on the host.
    """
    attributes = found.attribute_logits
    last = None if attributes is None else attributes[-1]
    shown = predictions(found.logits[-1], found.boxes[-1], last)
    return (
        inputs.image_ids,
        inputs.image_sizes,
        truth(inputs.targets),
        [(p.boxes.numpy(), p.labels.numpy(), p.scores.numpy()) for p in shown],
    )
