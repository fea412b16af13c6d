"""Step-wise decoding: a decoder writes one token of every text at a time.

A step gives the rows that the causal pass over the whole texts would give, in evaluation. The
memory is projected once, and keys and values of written tokens are kept. Nothing here has
gradients.

Shape suffixes: S texts, Tm rows of the memory, D width, N heads, E head width.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from vlp_fast.layers.positions import Positions
from vlp_fast.layers.sequences import Sequences, Spans
from vlp_fast.layers.transformer import Decoder, DecoderLayer


@dataclass(frozen=True, kw_only=True)
class LayerCache:
    """What one decoder layer keeps between steps."""

    written: Tensor
    """(S, max_length, 2, N, E), keys and values of the tokens written so far; the rest is not read.
    """
    memory: Tensor
    """(Tm, 2, N, E), keys and values, projected once."""


@dataclass(frozen=True, kw_only=True)
class DecodingState:
    """Caches of all layers, and the memory's sequences."""

    layers: tuple[LayerCache, ...]
    memory_sequences: Sequences


@torch.no_grad()
def start_decoding(
    decoder: Decoder,
    memory: Tensor,
    memory_sequences: Sequences,
    *,
    max_length: int,
    memory_positions: Positions | None = None,
) -> DecodingState:
    """Makes the state in front of the first token; keys and values of the memory are final.

    Args:
        decoder: that will write.
        memory: (Tm, D).
        memory_sequences: of the memory, S of them: one text is written for each.
        max_length: steps that will be taken at most.
        memory_positions: of the memory, enter keys.
    """
    shape = (memory_sequences.cu_seqlens.shape[0] - 1, max_length)
    caches = []
    for layer in _layers(decoder):
        projected = layer.cross_attention.project_memory(memory, memory_positions)
        written = projected.new_zeros(*shape, *projected.shape[1:])
        caches.append(LayerCache(written=written, memory=projected))
    return DecodingState(layers=tuple(caches), memory_sequences=memory_sequences)


@torch.no_grad()
def decode_step(decoder: Decoder, x: Tensor, state: DecodingState, index: int) -> Tensor:
    """Computes the last layer's rows for token `index` of each text, after all in front of it.

    Dropout is on in training mode, as in every module: call `eval` on the model first.

    Args:
        decoder: that `state` was made for.
        x: (S, D), what is known of the token, and of its place.
        state: from `start_decoding`; the token's keys and values are written into it.
        index: of the token in its text, from 0.

    Returns:
        (S, D), normed.
    """
    one = Spans.uniform(x.shape[0], 1, x.device)
    written = Spans.uniform(x.shape[0], index + 1, x.device)
    for layer, cache in zip(_layers(decoder), state.layers, strict=True):
        x = _layer_step(layer, x, cache, index, one, written, state.memory_sequences)
    out: Tensor = decoder.norm(x)
    return out


def _layer_step(
    layer: DecoderLayer,
    x: Tensor,
    cache: LayerCache,
    index: int,
    one: Spans,
    written: Spans,
    memory_sequences: Sequences,
) -> Tensor:
    def look_back(rows: Tensor) -> Tensor:
        cache.written[:, index] = layer.self_attention.project_memory(rows)
        so_far = cache.written[:, : index + 1].flatten(0, 1)
        return layer.self_attention.attend(rows, one, so_far, written)

    def look_at_memory(rows: Tensor) -> Tensor:
        return layer.cross_attention.attend(rows, one, cache.memory, memory_sequences)

    return layer.residual(
        x, (layer.norm1, look_back), (layer.norm2, look_at_memory), (layer.norm3, layer.ffn)
    )


def _layers(decoder: Decoder) -> Iterable[DecoderLayer]:
    """The layers as what they are inside of `torch.compile` or a checkpoint wrapper."""
    return cast(Iterable[DecoderLayer], decoder.layers)
