"""BERT as it is usually composed: padded embeddings, layers with a mask that is added, word heads.

Devlin et al. (2019), section 3 and appendix A.2. Attention is PyTorch's
`scaled_dot_product_attention`, which on a CPU falls back to written-out products where weights are
dropped. S texts, L tokens, D width, V words.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-12
HIDDEN = -10000.0
"""What is added to the score of a key that is padding."""
NO_WORD = -100
"""Label of a token that is not to be told."""


class TextEmbeddings(nn.Module):
    """dropout(LayerNorm(word + position + segment)) of padded texts."""

    def __init__(self, words: int, width: int, positions: int, dropout: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(words, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        """Maps (S, L) tokens to (S, L, D)."""
        places = torch.arange(ids.shape[1], device=ids.device)
        summed = self.word_embeddings(ids) + self.position_embeddings(places)
        summed = summed + self.token_type_embeddings(torch.zeros_like(ids))
        embedded: Tensor = self.dropout(self.norm(summed))
        return embedded


class SelfAttention(nn.Module):
    """Attention of BERT: three projections, heads, a mask that is added to the scores."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Maps (S, L, D) to (S, L, D); the mask is (S, 1, 1, L)."""
        q, k, v = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        rate = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, mask.to(q.dtype), dropout_p=rate)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """linear2(gelu(linear1(x)))."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., D) to (..., D)."""
        out: Tensor = self.linear2(functional.gelu(self.linear1(x)))
        return out


class Layer(nn.Module):
    """A layer of BERT, normalised behind each block."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads, dropout)
        self.ffn = FeedForward(width, inner)
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=EPS) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Maps (S, L, D) to (S, L, D)."""
        x = self.norm1(x + self.dropout(self.attention(x, mask)))
        out: Tensor = self.norm2(x + self.dropout(self.ffn(x)))
        return out


class WordTransform(nn.Module):
    """What is in front of BERT's word scores."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., D) to (..., D)."""
        normed: Tensor = self.norm(functional.gelu(self.dense(x)))
        return normed


class WordHead(nn.Module):
    """Scores of all words for every token, by the embeddings' matrix and a bias."""

    def __init__(self, width: int, words: int, *, transform: bool) -> None:
        super().__init__()
        self.transform = WordTransform(width) if transform else nn.Identity()
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, x: Tensor, embeddings: Tensor) -> Tensor:
        """Maps (..., D) and (V, D) to (..., V)."""
        return functional.linear(self.transform(x), embeddings, self.bias)


def added_mask(is_padding: Tensor) -> Tensor:
    """(S, L) bool, True on padding, as (S, 1, 1, L) to be added to scores."""
    return is_padding[:, None, None].float() * HIDDEN


def word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of the labelled tokens; labels (S, L), `NO_WORD` on the others."""
    flat = logits.flatten(0, 1).float()
    summed = functional.cross_entropy(flat, labels.flatten(), ignore_index=NO_WORD, reduction="sum")
    return summed / (labels != NO_WORD).sum().clamp(min=1)
