"""E2E-VLP's decoder as a language model: captions that are written from a memory (Eq. 2).

It reads `[start] w1 .. wn` and says what comes next, as it was taught in pre-training. Searches for
the words are in `layers/beam_search.py` and `layers/sampling.py`, which know no model.

Shape suffixes: S captions, B beams of each, V words, D width, T rows of the memory.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vlp_fast.layers.decoding import DecodingState, decode_step, start_decoding
from vlp_fast.layers.embeddings import TextEmbeddings
from vlp_fast.layers.positions import Positions
from vlp_fast.layers.sequences import Sequences
from vlp_fast.layers.transformer import Decoder


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionWriter:
    """A `LanguageModel` of S captions; made by `E2EVLP.writer`.

    Beams share the keys and values of their memory, which are computed once, in `start`.
    """

    decoder: Decoder
    text_embeddings: TextEmbeddings
    word_logits: Callable[[Tensor], Tensor]
    """Maps hidden rows (S B, D) to (S B, V)."""
    memory: Tensor
    """(T, D), encoded from images alone."""
    memory_sequences: Sequences
    """Of the memory, S of them."""
    memory_positions: Positions
    """Of the memory, enter keys."""
    start_id: int
    """Token in front of every caption."""

    def start(self, *, num_beams: int, max_length: int) -> tuple[Tensor, DecodingState]:
        """Begins captions: (S, B, V) logits of the first word, and the state.

        Raises:
            ValueError: if max_length is below 1 or beyond the position embeddings.
        """
        if not 1 <= max_length <= self.text_embeddings.max_positions:
            raise ValueError(
                f"CaptionWriter: received max_length {max_length}, expected 1 to "
                f"{self.text_embeddings.max_positions}, the number of position embeddings"
            )
        state = start_decoding(
            self.decoder,
            self.memory,
            self.memory_sequences,
            max_length=max_length,
            num_beams=num_beams,
            memory_positions=self.memory_positions,
        )
        shape = (state.num_rows // num_beams, num_beams)
        first = torch.full(shape, self.start_id, device=self.memory.device)
        return self.step(first, state, None)

    def step(
        self, tokens: Tensor, state: DecodingState, beams: Tensor | None
    ) -> tuple[Tensor, DecodingState]:
        """Goes on by tokens (S, B): (S, B, V) logits of the next word, and the state.

        Args:
            tokens: (S, B) int64.
            state: of the call before; it is changed.
            beams: (S, B) int64, which beam each goes on from; itself if None.
        """
        ids, index = tokens.flatten(), state.num_written
        embedded = self.text_embeddings(ids, torch.full_like(ids, index))
        hidden = decode_step(self.decoder, embedded, state, index, beams=beams)
        return self.word_logits(hidden).unflatten(0, tokens.shape), state
