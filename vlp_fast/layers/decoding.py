"""Step-wise decoding: a decoder writes one token of every text at a time.

A step gives the rows that the causal pass over the whole texts would give, in evaluation. The
memory is projected once, for all beams of a text, and keys and values of written tokens are kept
where they were written. Where a text has several beams, a table says which place each of a beam's
tokens is at, and attention reads through it: a beam that goes on from another one takes over a row
of numbers, not its keys and values. Nothing here has gradients.

Shape suffixes: S texts, B beams of each, Tm rows of the memory, D width, N heads, E head width.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from vlp_fast.layers.positions import Positions
from vlp_fast.layers.sequences import Sequences, Spans
from vlp_fast.layers.transformer import Decoder, DecoderLayer


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerCache:
    """What one decoder layer keeps between steps."""

    written: Tensor
    """(S B, max_length, 2, N, E), keys and values of the tokens written so far; the rest is not
    read.
    """
    memory: Tensor
    """(Tm, 2, N, E), keys and values, projected once."""


@dataclass(kw_only=True, eq=False)
class DecodingState:
    """What a decoder keeps between steps; each step changes it."""

    layers: tuple[LayerCache, ...]
    memory_sequences: Sequences
    max_length: int
    """Tokens of a text at most."""
    num_beams: int = 1
    """B, texts that are written about each sequence of the memory."""
    places: Tensor | None = None
    """(S B, max_length) int64, place of each token of a beam among the S B max_length of `written`;
    None for one beam, whose tokens lie in order."""
    num_written: int = 0
    """Tokens of each text whose keys and values are there."""

    @property
    def num_rows(self) -> int:
        """S B, rows of a step."""
        return (self.memory_sequences.cu_seqlens.shape[0] - 1) * self.num_beams


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """What all layers of a step share."""

    index: int
    asking: Spans
    """One row of each beam."""
    asking_memory: Spans
    """B rows of each text."""
    written: Spans
    """The rows of each beam up to the asking one."""
    places: Tensor | None
    """(rows of `written`,) int64, where they are; in order if None."""
    memory_sequences: Sequences

    def so_far(self, cache: LayerCache) -> Tensor:
        """Lays the written rows of each beam end to end: (S B (index + 1), 2, N, E).

        A copy of what is read, as attention takes it. Beams cost nothing else: on one thread of an
        EPYC (PyTorch 2.11; 32 pictures, 4 beams, 20 tokens, 8 heads of 32) all that a layer looks
        back took 1.1 ms so, 0.8 ms where beams did not move, and 1.7 ms with a cache that is copied
        in the order of the beams. Attention to the tokens of all beams under a mask copies nothing
        and took 1.1 ms; it would need a kernel with masks.
        """
        if self.places is None:
            # Empty sequences over what is not written yet would spare the copy, but one run of
            # PyTorch's kernel on a CPU takes neighbours of one length only: 32 texts of 21 tokens,
            # 8 heads of 32, took 1.0 ms instead of 0.23 ms.
            return cache.written[:, : self.index + 1].flatten(0, 1)
        return cache.written.flatten(0, 1).index_select(0, self.places)


@torch.no_grad()
def start_decoding(
    decoder: Decoder,
    memory: Tensor,
    memory_sequences: Sequences,
    *,
    max_length: int,
    num_beams: int = 1,
    memory_positions: Positions | None = None,
) -> DecodingState:
    """Makes the state in front of the first token; keys and values of the memory are final.

    Args:
        decoder: that will write.
        memory: (Tm, D).
        memory_sequences: of the memory, S of them: texts are written for each.
        max_length: steps that will be taken at most.
        num_beams: B, texts of each sequence.
        memory_positions: of the memory, enter keys.

    Raises:
        ValueError: if max_length or num_beams is below 1.
    """
    if max_length < 1:
        raise ValueError(
            f"start_decoding: received max_length {max_length}, expected 1 or more; pass the "
            "number of tokens to write"
        )
    if num_beams < 1:
        raise ValueError(
            f"start_decoding: received num_beams {num_beams}, expected 1 or more; pass the number "
            "of texts to write for each sequence of the memory"
        )
    num_rows = (memory_sequences.cu_seqlens.shape[0] - 1) * num_beams
    places = torch.arange(num_rows * max_length, device=memory.device).view(num_rows, max_length)
    caches = []
    for layer in _layers(decoder):
        projected = layer.cross_attention.project_memory(memory, memory_positions)
        written = projected.new_zeros(num_rows, max_length, *projected.shape[1:])
        caches.append(LayerCache(written=written, memory=projected))
    return DecodingState(
        layers=tuple(caches),
        memory_sequences=memory_sequences,
        max_length=max_length,
        num_beams=num_beams,
        places=places if num_beams > 1 else None,
    )


@torch.no_grad()
def decode_step(
    decoder: Decoder, x: Tensor, state: DecodingState, index: int, *, beams: Tensor | None = None
) -> Tensor:
    """Computes the last layer's rows for token `index` of each text, after all in front of it.

    Dropout is on in training mode, as in every module: call `eval` on the model first.

    Args:
        decoder: that `state` was made for.
        x: (S B, D), what is known of the token, and of its place; a sequence's beams side by side.
        state: from `start_decoding`; the token's keys and values are written into it.
        index: of the token in its text, from 0: the next one, or one that is written anew.
        beams: (S, B) int64 in [0, B), the beam of the same sequence whose tokens are in front of
            each beam's; its own if None.

    Returns:
        (S B, D), normed.

    Raises:
        ValueError: if a token in front of this one is missing, the text would be longer than
            `max_length`, x has not one row for each text, or beams have another shape.
    """
    _check(x, state, index, beams)
    _follow(state, index, beams)
    step = _step(state, index, x.device)
    for layer, cache in zip(_layers(decoder), state.layers, strict=True):
        x = _layer_step(layer, x, cache, step)
    state.num_written = index + 1
    out: Tensor = decoder.norm(x)
    return out


def _follow(state: DecodingState, index: int, beams: Tensor | None) -> None:
    """Lets each beam go on from another's tokens: where those are, and its next one in its row."""
    if state.places is None or beams is None:
        return
    by_text = state.places.view(-1, state.num_beams, state.max_length)
    followed = by_text.gather(1, beams[..., None].expand_as(by_text)).flatten(0, 1)
    rows = torch.arange(state.num_rows, device=beams.device)
    followed[:, index] = rows * state.max_length + index
    state.places = followed


def _step(state: DecodingState, index: int, device: torch.device) -> Step:
    asking = Spans.uniform(state.num_rows, 1, device)
    beams = state.num_beams
    return Step(
        index=index,
        asking=asking,
        asking_memory=(
            asking if beams == 1 else Spans.uniform(state.num_rows // beams, beams, device)
        ),
        written=Spans.uniform(state.num_rows, index + 1, device),
        places=None if state.places is None else state.places[:, : index + 1].flatten(),
        memory_sequences=state.memory_sequences,
    )


def _layer_step(layer: DecoderLayer, x: Tensor, cache: LayerCache, step: Step) -> Tensor:
    def look_back(rows: Tensor) -> Tensor:
        cache.written[:, step.index] = layer.self_attention.project_memory(rows)
        return layer.self_attention.attend(rows, step.asking, step.so_far(cache), step.written)

    def look_at_memory(rows: Tensor) -> Tensor:
        attention = layer.cross_attention
        return attention.attend(rows, step.asking_memory, cache.memory, step.memory_sequences)

    return layer.residual(
        x, (layer.norm1, look_back), (layer.norm2, look_at_memory), (layer.norm3, layer.ffn)
    )


def _check(x: Tensor, state: DecodingState, index: int, beams: Tensor | None) -> None:
    if x.dim() != 2 or x.shape[0] != state.num_rows:
        raise ValueError(
            f"decode_step: received x of shape {tuple(x.shape)}, expected ({state.num_rows}, D), "
            "one row for each text"
        )
    shape = (state.num_rows // state.num_beams, state.num_beams)
    if beams is not None and (beams.shape != shape or beams.dtype != torch.int64):
        raise ValueError(
            f"decode_step: received beams {tuple(beams.shape)} of {beams.dtype}, expected {shape} "
            "of torch.int64, the beam that each one goes on from"
        )
    last = min(state.num_written, state.max_length - 1)
    if not 0 <= index <= last:
        raise ValueError(
            f"decode_step: received token {index} after {state.num_written} of at most "
            f"{state.max_length}, expected 0 to {last}; write tokens in order, and start with a "
            "larger max_length for longer texts"
        )


def _layers(decoder: Decoder) -> Iterable[DecoderLayer]:
    """The layers as what they are inside of `torch.compile` or a checkpoint wrapper."""
    return cast(Iterable[DecoderLayer], decoder.layers)
