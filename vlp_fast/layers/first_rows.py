"""The last layer of an encoder for the first row of each sequence alone: [CLS], where it is asked.

A head on [CLS] reads nothing else of that layer, so nothing else is computed: with one query q for
each sequence and head, keys and values need not be projected either,

    q . (Wk (x + p) + bk) = (Wk^T q) . (x + p) + const        softmax forgets the constant
    sum_j a_j (Wv x_j + bv) = Wv (sum_j a_j x_j) + bv         weights add up to one

and what is left of the layer takes 2 N D multiplications a row, where the whole takes some 12 D^2.

Shape suffixes: T rows of all sequences, S sequences, L rows of the longest, D width, N heads, E
head width, R rows of a table.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vlp_fast.layers.attention import GridAttention
from vlp_fast.layers.positions import Positions, TablePositions, check_positions
from vlp_fast.layers.sequences import Sequences, check_rows
from vlp_fast.layers.transformer import Encoder, EncoderLayer
from vlp_fast.ops.operands import no_autocast


def encode_first_rows(
    encoder: Encoder, x: Tensor, sequences: Sequences, positions: Positions | None = None
) -> Tensor:
    """Encodes packed rows (T, D), and returns the first of each sequence: (S, D).

    What `encoder` gives for these rows, but for rounding, and for dropout of the last layer's
    weights in training, which is drawn otherwise.

    Args:
        encoder: its layers and its norm.
        x: (T, D) float, the rows of S sequences of at least one row each.
        sequences: of x; a `Packing`, for example.
        positions: of x, (T, D) or a table; enter queries and keys of every layer.

    Raises:
        ValueError: if rows, sequences and positions do not fit together.
    """
    check_rows("encode_first_rows", x, sequences)
    *layers, last = encoder.layers
    for layer in layers:
        x = layer(x, sequences, positions)
    assert isinstance(last, EncoderLayer)
    first = last_layer_first_rows(last, x, sequences, positions)
    return first if encoder.norm is None else encoder.norm(first)


def last_layer_first_rows(
    layer: EncoderLayer, x: Tensor, sequences: Sequences, positions: Positions | None = None
) -> Tensor:
    """Computes a layer's output (S, D) for the first row of each sequence of x (T, D)."""
    seen = layer.norm1(x) if layer.norm_first else x

    def look_around(_: Tensor) -> Tensor:
        return attend_from_first_rows(layer.attention, seen, sequences, positions)

    first = x.index_select(0, _first_rows(sequences))
    return layer.residual(first, (layer.norm1, look_around), (layer.norm2, layer.ffn))


def attend_from_first_rows(
    attention: GridAttention, x: Tensor, sequences: Sequences, positions: Positions | None = None
) -> Tensor:
    """Computes self-attention (S, D) of the first row of each sequence of x (T, D).

    Scores, softmax and mixture are float32 or wider, under autocast too: they are a small part.
    """
    if positions is not None:
        check_positions("attend_from_first_rows", x, positions)
    first = _first_rows(sequences)
    query_SNE = attention.project_queries(x.index_select(0, first), _of_rows(positions, first))
    with no_autocast(x):
        mixed_SNE = _mixed(attention, query_SNE, x, sequences, positions)
    out_SD: Tensor = attention.out_proj(mixed_SNE.flatten(1).to(x.dtype))
    return out_SD


def _mixed(
    attention: GridAttention,
    query_SNE: Tensor,
    x: Tensor,
    sequences: Sequences,
    positions: Positions | None,
) -> Tensor:
    """The mixture of values that each head of each sequence makes, (S, N, E)."""
    wide = torch.promote_types(x.dtype, torch.float32)
    sizes = (3, attention.num_heads, attention.head_dim)
    _, key_NED, value_NED = attention.in_proj_weight.to(wide).unflatten(0, sizes)
    _, _, bias_NE = attention.in_proj_bias.to(wide).unflatten(0, sizes)
    query_NSD = (query_SNE.to(wide) * attention.head_dim**-0.5).transpose(0, 1) @ key_NED
    places = _places(sequences)
    x_SLD = _laid_out(x.to(wide), sequences, places)
    scores_SNL = query_NSD.transpose(0, 1) @ x_SLD.transpose(1, 2)
    if positions is not None:
        scores_SNL = scores_SNL + _position_scores(query_NSD, positions, sequences, places)
    if places is not None:
        scores_SNL = scores_SNL.masked_fill(_is_beyond(sequences), -torch.inf)
    weights_SNL = F.dropout(scores_SNL.softmax(-1), attention.dropout_p)
    mixed_NSD = (weights_SNL @ x_SLD).transpose(0, 1)
    total_SN = weights_SNL.sum(-1)  # one, but for dropout
    mixed_SNE = (mixed_NSD @ value_NED.mT).transpose(0, 1)
    biased: Tensor = mixed_SNE + total_SN[:, :, None] * bias_NE
    return biased


def _position_scores(
    query_NSD: Tensor, positions: Positions, sequences: Sequences, places: Tensor | None
) -> Tensor:
    """What positions add to the scores, (S, N, L)."""
    if not isinstance(positions, TablePositions):
        rows_SLD = _laid_out(positions.to(query_NSD.dtype), sequences, places)
        return query_NSD.transpose(0, 1) @ rows_SLD.mT
    # Row 0 for indices below 0: text has no position.
    table_RD = F.pad(positions.table.to(query_NSD.dtype), (0, 0, 1, 0))
    of_table_SNR = (query_NSD @ table_RD.T).transpose(0, 1)
    indices_SLM = _laid_out(positions.indices, sequences, places).long() + 1
    shape = (-1, query_NSD.shape[0], -1)
    indices_SNK = indices_SLM.clamp(min=0).flatten(1)[:, None].expand(shape)
    of_each = of_table_SNR.gather(2, indices_SNK).unflatten(2, (-1, indices_SLM.shape[2]))
    summed: Tensor = of_each.sum(-1)
    return summed


def _of_rows(positions: Positions | None, rows: Tensor) -> Positions | None:
    if isinstance(positions, TablePositions):
        return TablePositions(table=positions.table, indices=positions.indices[rows])
    return None if positions is None else positions.index_select(0, rows)


def _first_rows(sequences: Sequences) -> Tensor:
    return sequences.cu_seqlens[:-1].long()


def _places(sequences: Sequences) -> Tensor | None:
    """(S, L), the row at each place of each sequence; None where all are equally long.

    Behind a sequence's end stands its last row again: whatever its neighbours hold, NaN too, is
    nothing to it.
    """
    starts, ends = sequences.cu_seqlens[:-1].long(), sequences.cu_seqlens[1:].long()
    if starts.shape[0] * sequences.max_length == sequences.num_rows:
        return None
    places = torch.arange(sequences.max_length, device=starts.device)
    return torch.minimum(starts[:, None] + places, ends[:, None] - 1)


def _laid_out(rows: Tensor, sequences: Sequences, places: Tensor | None) -> Tensor:
    """(T, ...) as (S, L, ...)."""
    return rows.unflatten(0, (-1, sequences.max_length)) if places is None else rows[places]


def _is_beyond(sequences: Sequences) -> Tensor:
    """(S, 1, L) bool, True behind the end of each sequence."""
    lengths = sequences.cu_seqlens.diff()
    places = torch.arange(sequences.max_length, device=lengths.device)
    return (places >= lengths[:, None])[:, None]
