"""An encoder over every text beside every image, for [CLS] alone: what retrieval asks of a model.

Sequences are as everywhere, `[text | cells]`, and no other number comes out than from packed ones,
but for rounding. What a text or an image has to itself is computed once for all of its sequences:
the projections of the first layer. In the last layer nothing is computed but [CLS].

Shape suffixes: S texts of L tokens, B images of C cells, T = B S (L + C) rows, D width, M indices.
"""

import torch
from torch import Tensor

from vlp_fast.layers.first_rows import last_layer_first_rows
from vlp_fast.layers.positions import TablePositions
from vlp_fast.layers.sequences import Spans
from vlp_fast.layers.transformer import Encoder, EncoderLayer
from vlp_fast.ops.attention import attention_qkvpacked


def encode_all_pairs(
    encoder: Encoder, texts: Tensor, cells: Tensor, positions: TablePositions | None = None
) -> Tensor:
    """Encodes B S sequences, each text beside each image, and returns the first row of each.

    Args:
        encoder: its layers and its norm; call in eval mode, for what texts share has no dropout.
        texts: (S, L, D) float, rows of texts of one length, [CLS] first.
        cells: (B, C, D) float, rows of images of one size.
        positions: of the cells, for B C rows, image by image; texts have none. None for no
            positions at all.

    Returns:
        (B, S, D).

    Raises:
        ValueError: if texts and cells are of other widths, or one of them has no row.
    """
    _check(texts, cells)
    (count, length, _), (images, size, _) = texts.shape, cells.shape
    spans = Spans.uniform(count * images, length + size, texts.device)
    everywhere = None if positions is None else _on_pairs(positions, texts, cells)
    first, *layers = encoder.layers
    assert isinstance(first, EncoderLayer)
    x = _paired(texts, cells)
    if layers:
        x = _first_layer(first, x, texts, cells, positions, spans)
    for layer in layers[:-1]:
        x = layer(x, spans, everywhere)
    last = layers[-1] if layers else first
    assert isinstance(last, EncoderLayer)
    rows = last_layer_first_rows(last, x, spans, everywhere)
    rows = rows if encoder.norm is None else encoder.norm(rows)
    of_pairs: Tensor = rows.unflatten(0, (images, count))
    return of_pairs


def _first_layer(
    layer: EncoderLayer,
    x: Tensor,
    texts: Tensor,
    cells: Tensor,
    positions: TablePositions | None,
    spans: Spans,
) -> Tensor:
    """The first layer's output (T, D), each text and each image projected once."""
    if layer.norm_first:
        texts, cells = layer.norm1(texts), layer.norm1(cells)
    of_texts = layer.attention.project(texts.flatten(0, 1)).unflatten(0, texts.shape[:2])
    of_cells = layer.attention.project(cells.flatten(0, 1), positions)
    mixed = attention_qkvpacked(
        _paired(of_texts, of_cells.unflatten(0, cells.shape[:2])),
        spans.cu_seqlens,
        max_seqlen=spans.max_length,
    )
    out = layer.attention.out_proj(mixed.flatten(1))
    return layer.residual(x, (layer.norm1, lambda _: out), (layer.norm2, layer.ffn))


def _paired(texts: Tensor, cells: Tensor) -> Tensor:
    """(S, L, ...) and (B, C, ...) as rows (T, ...): image by image, text by text."""
    (count, length), (images, size), rest = texts.shape[:2], cells.shape[:2], texts.shape[2:]
    of_texts = texts[None].expand(images, count, length, *rest)
    of_cells = cells[:, None].expand(images, count, size, *rest)
    return torch.cat([of_texts, of_cells], dim=2).flatten(0, 2)


def _on_pairs(positions: TablePositions, texts: Tensor, cells: Tensor) -> TablePositions:
    """The positions of all rows; those of texts are none."""
    of_cells = positions.indices.unflatten(0, cells.shape[:2])
    of_texts = of_cells.new_full((*texts.shape[:2], of_cells.shape[2]), -1)
    return TablePositions(table=positions.table, indices=_paired(of_texts, of_cells))


def _check(texts: Tensor, cells: Tensor) -> None:
    if texts.dim() != 3 or cells.dim() != 3 or texts.shape[2] != cells.shape[2]:
        raise ValueError(
            f"encode_all_pairs: received texts {tuple(texts.shape)} and cells "
            f"{tuple(cells.shape)}, expected (S, L, D) and (B, C, D)"
        )
    if not texts.shape[1] or not cells.shape[1]:
        raise ValueError(
            f"encode_all_pairs: received texts of {texts.shape[1]} rows and images of "
            f"{cells.shape[1]}, expected one at least; give each text its [CLS]"
        )
