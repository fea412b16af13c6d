"""What a model looks at while it reads a text or finds objects, a picture at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vlp_fast.data.examples import Example
from vlp_fast.errors import InputError
from vlp_fast.inference.answers import found_of
from vlp_fast.inference.graphs import Graphs
from vlp_fast.inference.reading import ReadTogether, read
from vlp_fast.inference.results import ObjectAttention, TextAttention
from vlp_fast.inference.trained import Trained
from vlp_fast.layers.attention_maps import attention_maps
from vlp_fast.models.e2e_vlp import E2EVLP


def text_attention(trained: Trained, picture: Example, ids: Sequence[int]) -> TextAttention:
    """How the encoder's rows of a text look at the cells of the picture beside it.

    Args:
        trained: a model of either system.
        picture: as the model is shown it.
        ids: the text's tokens, [CLS] and [SEP] included.
    """
    with attention_maps(trained.model.encoder) as maps:
        group = _read(trained, picture, ids)
    length = len(ids)
    weights = _of_cells(list(maps.values()), group, slice(0, length), length)
    words = tuple(trained.tokenizer.vocabulary[number] for number in ids)
    return TextAttention(words=words, weights=weights)


def object_attention(
    trained: Trained,
    picture: Example,
    ids: Sequence[int],
    size: tuple[int, int],
    threshold: float,
) -> ObjectAttention:
    """How the decoder's queries look at the cells of a picture: those that found objects.

    Args:
        trained: an E2E-VLP.
        picture, ids: as of `text_attention`; no tokens for a picture alone.
        size: (height, width) of the picture, for boxes in its pixels.
        threshold: of the probability of the class.

    Raises:
        InputError: if the model has no decoder.
    """
    model = trained.model
    if not isinstance(model, E2EVLP):
        raise InputError("object_attention: is of E2E-VLP's object queries; SOHO has none")
    group = _read(trained, picture, ids)
    with attention_maps(model.decoder) as maps, torch.inference_mode(), trained.runtime.autocast():
        ((objects, queries),) = found_of(trained, group, [size], threshold)
    looks = [calls for name, calls in maps.items() if name.endswith("cross_attention")]
    rows = torch.tensor(queries, dtype=torch.int64, device=group.memory.device)
    return ObjectAttention(objects=objects, weights=_of_cells(looks, group, rows, len(ids)))


def _read(trained: Trained, picture: Example, ids: Sequence[int]) -> ReadTogether:
    unrecorded = replace(trained, graphs=Graphs())  # a replay calls no operator
    (group,) = read(unrecorded, [picture], [list(ids)], [0])
    return group


def _of_cells(
    looks: Sequence[Sequence[Tensor]], group: ReadTogether, rows: slice | Tensor, first: int
) -> np.ndarray:
    """(A, N, rows, h, w): of each layer's one map the columns of the cells, which come last."""
    height, width = group.grid.sizes[0]
    weights = torch.cat([calls[-1] for calls in looks])[:, :, rows, first:]
    found: np.ndarray = weights.float().unflatten(-1, (height, width)).cpu().numpy()
    return found
