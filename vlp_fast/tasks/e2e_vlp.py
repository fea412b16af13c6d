"""Joint pre-training of E2E-VLP (section 3.2, eq. 3): MLM + ITM + detection + captioning.

One encoder call holds 2B sequences: B of `[text | grid]`, then B of the grid alone. Captions
are written from the second kind, because the first would show the caption to its own writer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast.data.examples import Example
from vlp_fast.data.randomness import generator
from vlp_fast.data.records import Dataset
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.ops import Targets
from vlp_fast.ops.grid import Grid
from vlp_fast.ops.packing import Packing, make_packing, select_sequences
from vlp_fast.tasks.captioning import shift
from vlp_fast.tasks.config import E2EVLPObjective
from vlp_fast.tasks.detection import (
    DetectionWeights,
    detection_loss,
    detection_targets,
    matched_attribute_accuracy,
)
from vlp_fast.tasks.images import Geometry, Sizes, batch_images
from vlp_fast.tasks.itm import draw_foreign_caption, draw_own_captions
from vlp_fast.tasks.task import Inputs, StepOutput, accuracy, mean_cross_entropy
from vlp_fast.tasks.texts import Corruption, chosen_rows, flat


@dataclass(frozen=True, kw_only=True)
class E2EVLPInputs(Inputs):
    """One step's tensors. B images, 2B sequences: joint first, then image-only.

    Attributes:
        images: (B, 3, H, W) float32, zero-padded.
        image_sizes: valid (height, width) of each, in pixels.
        grid: valid cells of the B feature maps.
        packing: the 2B sequences.
        text_ids: (sum L,) int64 of the B joint sequences.
        masked_rows: (M,) packed rows of the words to predict (matching pairs only).
        masked_targets: (M,) the words.
        is_matched: (B,) int64, 1 where the text belongs to the image.
        targets: the boxes.
        detection_rows: rows of the B sequences that detection reads.
        detection_packing: their packing.
        image_rows: rows of the B image-only sequences.
        image_packing: their packing.
        caption_ids, caption_targets, caption_packing: what the decoder reads and answers.
        image_ids: identities, for evaluation.
        problems: what was wrong with the samples, for the log.
    """

    images: Tensor
    image_sizes: Sizes
    grid: Grid
    packing: Packing
    text_ids: Tensor
    masked_rows: Tensor
    masked_targets: Tensor
    is_matched: Tensor
    targets: Targets
    detection_rows: Tensor
    detection_packing: Packing
    image_rows: Tensor
    image_packing: Packing
    caption_ids: Tensor
    caption_targets: Tensor
    caption_packing: Packing
    image_ids: tuple[int, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class E2EVLPPretraining:
    """The joint objective: batches in, losses out."""

    objective: E2EVLPObjective
    dataset: Dataset
    corruption: Corruption
    geometry: Geometry
    seed: int

    @property
    def weights(self) -> DetectionWeights:
        """The set loss's weights."""
        return DetectionWeights(
            classes=self.objective.class_weight,
            bbox=self.objective.bbox_weight,
            giou=self.objective.giou_weight,
            attribute=self.objective.attribute_weight,
            eos=self.objective.eos_coef,
        )

    def collate(self, examples: list[Example], epoch: int, pool: int | None = None) -> E2EVLPInputs:
        """Pair, corrupt, pad and pack one batch, on the host."""
        count = len(examples)
        images, image_sizes, grid = batch_images(examples, self.geometry, E2EVLP.pad_multiple)
        texts, is_matched, captions, from_image = [], [], [], []
        for example in examples:
            draw = generator(self.seed, epoch, example.index, "pairs")
            text, caption = draw_own_captions(example.captions, 2, draw)
            matched = bool(draw.random() >= self.objective.mismatch_rate)
            if not matched:
                text = draw_foreign_caption(self.dataset, example.index, draw, pool=pool)
            from_image.append(bool(draw.random() < self.objective.image_only_detection_rate))
            texts.append(self.corruption.mask(text, draw))
            is_matched.append(matched)
            captions.append(shift(self.corruption.ids(caption)))
        lengths = [len(text.ids) for text in texts]
        packing = make_packing((*lengths, *[0] * count), (*range(count), *range(count)), grid)
        rows, words = chosen_rows(texts, packing.starts[:count], is_matched)
        seen_by_detection = [i + count * alone for i, alone in enumerate(from_image)]
        detection_rows, detection_packing = select_sequences(packing, seen_by_detection)
        image_rows, image_packing = select_sequences(packing, range(count, 2 * count))
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

    def forward(self, model: E2EVLP, inputs: E2EVLPInputs) -> StepOutput:
        """All four losses of eq. 3 with the counts that the log shows."""
        cells = model.features(inputs.images, inputs.grid, inputs.image_sizes)
        memory = model.encode(inputs.text_ids, cells, inputs.grid, inputs.packing)
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
        if self.objective.detection:
            self._detect(model, inputs, memory, losses, parts, counts)
        if self.objective.captioning:
            logits = model.caption_logits(
                inputs.caption_ids,
                inputs.caption_packing,
                memory.index_select(0, inputs.image_rows),
                inputs.grid,
                inputs.image_packing,
            )
            losses["captioning"] = mean_cross_entropy(
                logits, inputs.caption_targets, label_smoothing=self.objective.label_smoothing
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
            found.logits, found.boxes, found.attribute_logits, inputs.targets, self.weights
        )
        parts.update({f"detection_{name}": value for name, value in terms.items()})
        if not model.training and found.attribute_logits is not None:
            counts.update(
                matched_attribute_accuracy(
                    found.logits[-1], found.boxes[-1], found.attribute_logits[-1], inputs.targets
                )
            )
