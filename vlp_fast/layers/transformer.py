"""Transformer encoder and decoder over packed rows, in DETR's order of operations.

Positions are added to queries and keys in every layer, never to values. Each block is

    norm_first=False (DETR, BERT):  x = norm(x + dropout(block(x)))
    norm_first=True:                x = x + dropout(block(norm(x)))

Different from DETR: rows are packed; `num_heads`, `head_dim` and `ffn_dim` are independent of the
width; and the decoder can be causal, so that one set of weights detects objects and writes text
(E2E-VLP section 3.1.3); `decoding.py` runs it token by token.

Shape suffixes: T rows of all sequences, S sequences, D width, N heads, E head width, A layers.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp_fast.layers.attention import CrossAttention, GridAttention
from vlp_fast.layers.positions import Positions
from vlp_fast.layers.relu_dropout import relu_dropout
from vlp_fast.layers.sequences import Sequences
from vlp_fast.ops.norm import residual_norm

Activation = Literal["relu", "gelu"]
Block = Callable[[Tensor], Tensor]
"""Maps (T, D) to (T, D)."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class FeedForward(nn.Module):
    """Computes linear2(dropout(activation(linear1(x)))) of every row.

    Raises:
        ValueError: for an unknown activation.
    """

    def __init__(self, width: int, ffn_dim: int, *, activation: Activation, dropout: float) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"FeedForward: received activation {activation!r}, expected one of "
                f"{sorted(ACTIVATIONS)}; pass one of these"
            )
        self.linear1 = nn.Linear(width, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, width)
        self.activation = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(dropout)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., D) to (..., D)."""
        out: Tensor = self.linear2(self._activated(self.linear1(x)))
        return out

    def _activated(self, hidden: Tensor) -> Tensor:
        dropout = self.dropout
        is_usual = type(dropout) is nn.Dropout and dropout.training and 0 < dropout.p < 1
        if is_usual and self.activation is F.relu:
            return relu_dropout(hidden, dropout.p)
        dropped: Tensor = dropout(self.activation(hidden))
        return dropped


@dataclass(frozen=True, kw_only=True)
class LayerConfig:
    """Sizes and switches of an encoder or a decoder layer, and the parts that follow from them."""

    width: int
    """D."""
    num_heads: int
    """N."""
    head_dim: int | None = None
    """E; width / num_heads if None."""
    ffn_dim: int
    """Inner features of the feed-forward network."""
    activation: Activation = "relu"
    """Of the feed-forward network: "relu" (DETR) or "gelu" (BERT)."""
    norm_first: bool = False
    """Normalise in front of each block instead of behind it."""
    dropout: float = 0.1
    """Rate on attention weights, on residuals, and on `ffn_dropout`'s place if that is None."""
    ffn_dropout: float | None = None
    """Rate inside the feed-forward network; `dropout` if None (DETR), 0 in BERT."""
    eps: float = 1e-5
    """Of the layer norms; 1e-5 in DETR, 1e-12 in BERT."""

    def self_attention(self) -> GridAttention:
        """Makes attention within each sequence."""
        return GridAttention(self.width, self.num_heads, self.head_dim, dropout=self.dropout)

    def cross_attention(self) -> CrossAttention:
        """Makes attention to a memory."""
        return CrossAttention(self.width, self.num_heads, self.head_dim, dropout=self.dropout)

    def feed_forward(self) -> FeedForward:
        """Makes the feed-forward network."""
        rate = self.dropout if self.ffn_dropout is None else self.ffn_dropout
        return FeedForward(self.width, self.ffn_dim, activation=self.activation, dropout=rate)

    def norm(self) -> nn.LayerNorm:
        """Makes the layer norm of one block."""
        return nn.LayerNorm(self.width, eps=self.eps)


class ResidualLayer(nn.Module):
    """What encoder and decoder layers share: residual connections, each one pass over the rows."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.norm_first = config.norm_first
        self.dropout = config.dropout

    def residual(self, x: Tensor, *blocks: tuple[nn.Module, Block]) -> Tensor:
        """Computes blocks, each with its norm, on (T, D); the module's docstring has the formula.

        A norm in front of a block is computed together with the sum behind the block before it.
        """
        if not self.norm_first:
            for norm, block in blocks:
                x, _ = self._add(block(x), x, norm)
            return x
        norms = [norm for norm, _ in blocks]
        normed = norms[0](x)
        for (_, block), norm in zip(blocks[:-1], norms[1:], strict=True):
            normed, x = self._add(block(normed), x, norm)
        return x + F.dropout(blocks[-1][1](normed), self.dropout, self.training)

    def _add(self, out: Tensor, x: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
        """Adds what a block computed to the stream; the norm of the sum, and the sum."""
        # Put in place of ours: a norm without weight or bias, or another one, is called as it is.
        if type(norm) is not nn.LayerNorm or norm.weight is None or norm.bias is None:
            summed = x + F.dropout(out, self.dropout, self.training)
            return norm(summed), summed
        rate = self.dropout if self.training else 0.0
        return residual_norm(out, x, norm.weight, norm.bias, eps=norm.eps, dropout_p=rate)


class EncoderLayer(ResidualLayer):
    """Self-attention and a feed-forward network."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.attention = config.self_attention()
        self.ffn = config.feed_forward()
        self.norm1 = config.norm()
        self.norm2 = config.norm()

    def forward(self, x: Tensor, packing: Sequences, positions: Positions | None = None) -> Tensor:
        """Maps packed rows (T, D) to (T, D); positions enter queries and keys."""

        def look_around(rows: Tensor) -> Tensor:
            out: Tensor = self.attention(rows, packing, positions=positions)
            return out

        return self.residual(x, (self.norm1, look_around), (self.norm2, self.ffn))


class Encoder(nn.Module):
    """Encoder layers one behind the other.

    Args:
        layers: the layers.
        norm: behind the last layer; needed with norm_first, None otherwise (DETR).
    """

    def __init__(self, layers: Iterable[EncoderLayer], norm: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(self, x: Tensor, packing: Sequences, positions: Positions | None = None) -> Tensor:
        """Maps packed rows (T, D) to (T, D); positions enter every layer."""
        for layer in self.layers:
            x = layer(x, packing, positions)
        return x if self.norm is None else self.norm(x)


def make_encoder(config: LayerConfig, num_layers: int) -> Encoder:
    """Makes an encoder of equal layers, with the last norm that norm_first needs."""
    layers = [EncoderLayer(config) for _ in range(num_layers)]
    return Encoder(layers, config.norm() if config.norm_first else None)


class DecoderLayer(ResidualLayer):
    """Self-attention, cross-attention to a memory and a feed-forward network."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.self_attention = config.self_attention()
        self.cross_attention = config.cross_attention()
        self.ffn = config.feed_forward()
        self.norm1 = config.norm()
        self.norm2 = config.norm()
        self.norm3 = config.norm()

    def forward(
        self,
        x: Tensor,
        sequences: Sequences,
        memory: Tensor,
        memory_sequences: Sequences,
        *,
        query_positions: Positions | None = None,
        memory_positions: Positions | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Maps packed rows (T, D) to (T, D).

        Args:
            x: (T, D).
            sequences: of x, S of them.
            memory: (Tm, D).
            memory_sequences: of the memory, S of them.
            query_positions: of x, enter queries of both attentions and keys of the first.
            memory_positions: of the memory, enter keys of the second.
            causal: rows do not see later rows of their sequence.
        """

        def look_around(rows: Tensor) -> Tensor:
            out: Tensor = self.self_attention(
                rows, sequences, positions=query_positions, causal=causal
            )
            return out

        def look_at_memory(rows: Tensor) -> Tensor:
            out: Tensor = self.cross_attention(
                rows,
                memory,
                sequences,
                memory_sequences,
                query_positions=query_positions,
                memory_positions=memory_positions,
            )
            return out

        return self.residual(
            x, (self.norm1, look_around), (self.norm2, look_at_memory), (self.norm3, self.ffn)
        )


class Decoder(nn.Module):
    """Decoder layers one behind the other, each of which is read out.

    Args:
        layers: the layers.
        norm: applied to the output of every layer on its way out (not to the next layer).
    """

    def __init__(self, layers: Iterable[DecoderLayer], norm: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(
        self,
        x: Tensor,
        sequences: Sequences,
        memory: Tensor,
        memory_sequences: Sequences,
        *,
        query_positions: Positions | None = None,
        memory_positions: Positions | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Computes (A, T, D), the normed outputs of all layers; arguments as in `DecoderLayer`."""
        outputs = []
        for layer in self.layers:
            x = layer(
                x,
                sequences,
                memory,
                memory_sequences,
                query_positions=query_positions,
                memory_positions=memory_positions,
                causal=causal,
            )
            outputs.append(self.norm(x))
        return torch.stack(outputs)
