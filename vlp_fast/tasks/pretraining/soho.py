"""Joint pre-training of SOHO (section 3.3, eq. 9): MLM + MVM + ITM.

Each image comes with two matching and two foreign texts; the CNN and the dictionary run once
an image, the four sequences share its visual tokens. Masked words and masked codes have their
loss on the matching texts only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast.data.examples import Example
from vlp_fast.data.randomness import generator
from vlp_fast.errors import InputError
from vlp_fast.layers.perplexity import perplexity
from vlp_fast.models.config import SohoConfig
from vlp_fast.models.soho import Soho
from vlp_fast.ops.packing import make_packing
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.held_out import HeldOut, Runtime
from vlp_fast.tasks.images import batch_images
from vlp_fast.tasks.inputs import flat
from vlp_fast.tasks.pretraining.codebook import start_codebook
from vlp_fast.tasks.pretraining.config import SohoPretrainingConfig
from vlp_fast.tasks.pretraining.itm import draw_own_captions
from vlp_fast.tasks.pretraining.mvm import masked_code_accuracy, masked_code_loss
from vlp_fast.tasks.pretraining.pairs import Pairs
from vlp_fast.tasks.pretraining.picture import draw_words_and_codes
from vlp_fast.tasks.pretraining.pretraining import Pretraining
from vlp_fast.tasks.pretraining.texts import chosen_rows
from vlp_fast.tasks.sharing import FirstShards
from vlp_fast.tasks.step import StepOutput, accuracy, mean_cross_entropy
from vlp_fast.tasks.task import Figures, Learner


@dataclass(frozen=True, kw_only=True)
class SohoInputs(Pairs):
    """One step's tensors. B images, S sequences: image after image, own texts first.

    Attributes:
        packing: the S sequences.
        text_ids: (sum L,) int64.
        is_matched: (S,) int64.
        noise: (P,) uniform in [0, 1), decides which label of each image is masked.
        code_rows: packed rows of the grid cells of the matching sequences.
        code_cells: the cell that each of them shows.
    """

    noise: Tensor
    code_rows: Tensor
    code_cells: Tensor


class SohoPretraining(Pretraining):
    """SOHO's pre-training: batches in, losses out; figures of the dictionary."""

    curves: ClassVar = ("mlm", "itm", "mvm")
    settings: SohoPretrainingConfig

    @property
    def switches(self) -> SohoConfig:
        """The model's, some of which decide its pre-training."""
        assert isinstance(self.model_config, SohoConfig)
        return self.model_config

    def collate(self, examples: list[Example], key: BatchKey) -> SohoInputs:
        """Pair, corrupt, pad and pack one batch, on the host."""
        images, image_sizes, grid = batch_images(examples, self.learner.model)
        texts, is_matched, image_of, noise = [], [], [], []
        for position, example in enumerate(examples):
            draw = generator(self.setup.seed, key.epoch, example.index, "pairs")
            pairs = self._pairs(example, draw, key)
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
        self, example: Example, draw: np.random.Generator, key: BatchKey
    ) -> list[tuple[str, bool]]:
        """The image's texts, and whether each is its own: 2 + 2, or the official coin a text."""
        own, foreign = self.settings.own_texts, self.settings.foreign_texts
        if self.switches.pair_sampling == "2+2":
            is_own = [True] * own + [False] * foreign
        else:
            is_own = [bool(coin < 0.5) for coin in draw.random(own + foreign)]
        texts = iter(draw_own_captions(example.captions, sum(is_own), draw))
        return [
            (next(texts) if mine else self.foreign_caption(example, draw, key), mine)
            for mine in is_own
        ]

    def forward(self, learner: Learner, inputs: SohoInputs) -> StepOutput:
        """All three losses of eq. 9 with the counts that the log shows."""
        model = self.model
        tokens = model.embed_image(inputs.images, inputs.grid, inputs.image_sizes)
        masked = model.mask_labels(tokens.indices, inputs.grid, inputs.noise)
        seen = model.hide(tokens, masked)
        hidden = model.read(inputs.text_ids, seen, inputs.grid, inputs.packing)
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

    def check(self) -> None:
        """The dictionary starts from enough features."""
        samples, codes = self.settings.codebook_samples, self._starting_codes()
        if samples < codes:
            raise InputError(
                f"--task.codebook-samples {samples} is too few to start {codes} codes from; raise "
                "it or lower --model.num-codes"
            )

    def _starting_codes(self) -> int:
        """Codes that start from data."""
        config = self.setup.model
        assert isinstance(config, SohoConfig)
        return config.num_codes if config.codebook_init == "data" else 0

    def begin(
        self,
        learner: Learner,
        batches: FirstShards,
        runtime: Runtime,
    ) -> str | None:
        """The dictionary's start, if the model asks for data."""
        if not self._starting_codes():
            return None
        wanted = self.settings.codebook_samples
        # The published rule moves the codes with each shard.
        is_published = self.model.dictionary.semantics == "official"
        return start_codebook(
            self.model,
            batches,
            runtime,
            count=-(-wanted // self.setup.length.batch_size),
            wanted=wanted,
            shards=1 if is_published else self.setup.length.shards,
            seed=self.setup.seed,
        )

    def watched(self, learner: Learner) -> Figures:
        """Perplexity of the dictionary's use."""
        return {"perplexity": float(self.model.dictionary.perplexity())}

    def figures(self, held_out: HeldOut) -> Figures:
        """Those of pre-training, and codes in use and perplexity over the held-out images."""
        return super().figures(held_out) | self._codes(held_out)

    def _codes(self, held_out: HeldOut) -> Figures:
        model = self.model
        hits = torch.zeros(model.config.num_codes, dtype=torch.float64)

        def measure(inputs: SohoInputs) -> Tensor:
            with held_out.runtime.autocast():
                tokens = model.embed_image(inputs.images, inputs.grid, inputs.image_sizes)
            return torch.bincount(tokens.indices.cpu(), minlength=hits.numel())

        for counts in held_out.measured(measure):
            hits += counts
        return {
            "perplexity": float(perplexity(hits)),
            "used_codes": float((hits > 0).sum()),
            "majority_code_share": float(hits.max() / hits.sum().clamp(min=1)),
        }

    panel_rows = 3

    def draw(self, figure: Any, held_out: HeldOut) -> None:
        """Masked words, maps of the codes, and what the codes look like."""
        draw_words_and_codes(self, figure, held_out)

    @property
    def model(self) -> Soho:
        """The model without heads of other tasks."""
        assert isinstance(self.learner.model, Soho)
        return self.learner.model
