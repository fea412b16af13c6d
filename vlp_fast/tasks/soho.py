"""Joint pre-training of SOHO (section 3.3, eq. 9): MLM + MVM + ITM.

Each image comes with two matching and two foreign texts; the CNN and the dictionary run once
an image, the four sequences share its visual tokens. Masked words and masked codes have their
loss on the matching texts only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast.data.examples import Example
from vlp_fast.data.randomness import generator
from vlp_fast.data.records import Dataset
from vlp_fast.models.config import SohoConfig
from vlp_fast.models.soho import Soho, pad_multiple
from vlp_fast.ops.grid import Grid
from vlp_fast.ops.packing import Packing, make_packing
from vlp_fast.tasks.config import SohoObjective
from vlp_fast.tasks.images import Geometry, Sizes, batch_images
from vlp_fast.tasks.itm import draw_foreign_caption, draw_own_captions
from vlp_fast.tasks.mvm import masked_code_accuracy, masked_code_loss
from vlp_fast.tasks.task import Inputs, StepOutput, accuracy, mean_cross_entropy
from vlp_fast.tasks.texts import Corruption, chosen_rows, flat


@dataclass(frozen=True, kw_only=True)
class SohoInputs(Inputs):
    """One step's tensors. B images, S sequences: image after image, own texts first.

    Attributes:
        images: (B, 3, H, W) float32, zero-padded.
        image_sizes: valid (height, width) of each, in pixels.
        grid: valid cells of the B maps that enter the dictionary.
        packing: the S sequences.
        text_ids: (sum L,) int64.
        masked_rows: (M,) packed rows of the words to predict (matching pairs only).
        masked_targets: (M,) the words.
        is_matched: (S,) int64.
        noise: (P,) uniform in [0, 1), decides which label of each image is masked.
        code_rows: packed rows of the grid cells of the matching sequences.
        code_cells: the cell that each of them shows.
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
    noise: Tensor
    code_rows: Tensor
    code_cells: Tensor
    image_ids: tuple[int, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SohoPretraining:
    """The joint objective: batches in, losses out."""

    objective: SohoObjective
    dataset: Dataset
    switches: SohoConfig
    corruption: Corruption
    geometry: Geometry
    seed: int

    def collate(self, examples: list[Example], epoch: int, pool: int | None = None) -> SohoInputs:
        """Pair, corrupt, pad and pack one batch, on the host."""
        images, image_sizes, grid = batch_images(
            examples, self.geometry, pad_multiple(self.switches)
        )
        texts, is_matched, image_of, noise = [], [], [], []
        for position, example in enumerate(examples):
            draw = generator(self.seed, epoch, example.index, "pairs")
            pairs = self._pairs(example, draw, pool)
            texts += [self.corruption.mask(text, draw) for text, _ in pairs]
            is_matched += [matched for _, matched in pairs]
            image_of += [position] * len(pairs)
            height, width = grid.sizes[position]
            noise.append(torch.from_numpy(draw.random(height * width)))
        packing = make_packing([len(text.ids) for text in texts], image_of, grid)
        has_loss = [matched or self.switches.mlm_on_negatives for matched in is_matched]
        rows, targets = chosen_rows(texts, packing.starts, has_loss)
        matched = torch.tensor(is_matched, device="cpu")
        of_matched = torch.tensor(has_loss, device="cpu")[packing.sequence_of[packing.grid_rows]]
        return SohoInputs(
            images=images,
            image_sizes=image_sizes,
            grid=grid,
            packing=packing,
            text_ids=flat([text.ids for text in texts]),
            masked_rows=rows,
            masked_targets=targets,
            is_matched=matched.long(),
            noise=torch.cat(noise).float(),
            code_rows=packing.grid_rows[of_matched],
            code_cells=packing.grid_cells[of_matched],
            image_ids=tuple(e.image_id for e in examples),
            problems=tuple(e.problem for e in examples if e.problem),
        )

    def _pairs(
        self, example: Example, draw: np.random.Generator, pool: int | None
    ) -> list[tuple[str, bool]]:
        """The image's texts, and whether each is its own: 2 + 2, or the official coin a text."""
        own, foreign = self.objective.own_texts, self.objective.foreign_texts
        if self.switches.pair_sampling == "2+2":
            is_own = [True] * own + [False] * foreign
        else:
            is_own = [bool(coin < 0.5) for coin in draw.random(own + foreign)]
        texts = iter(draw_own_captions(example.captions, sum(is_own), draw))
        return [
            (
                next(texts)
                if mine
                else draw_foreign_caption(self.dataset, example.index, draw, pool=pool),
                mine,
            )
            for mine in is_own
        ]

    def forward(self, model: Soho, inputs: SohoInputs) -> StepOutput:
        """All three losses of eq. 9 with the counts that the log shows."""
        tokens = model.embed_image(inputs.images, inputs.grid, inputs.image_sizes)
        masked = model.mask_labels(tokens.indices, inputs.grid, inputs.noise)
        hidden = model.encode(inputs.text_ids, tokens, masked, inputs.grid, inputs.packing)
        words = model.masked_word_logits(hidden.index_select(0, inputs.masked_rows))
        pairs = model.match_logits(hidden.index_select(0, inputs.packing.first_rows))
        codes = model.code_logits(hidden.index_select(0, inputs.code_rows))
        labels, chosen = tokens.indices[inputs.code_cells], masked[inputs.code_cells]
        return StepOutput(
            losses={
                "mlm": mean_cross_entropy(words, inputs.masked_targets),
                "mvm": masked_code_loss(codes, labels, chosen),
                "itm": functional.cross_entropy(pairs.float(), inputs.is_matched),
            },
            counts={
                "mlm": accuracy(words, inputs.masked_targets),
                "mvm": masked_code_accuracy(codes, labels, chosen),
                "itm": accuracy(pairs, inputs.is_matched),
            },
        )
