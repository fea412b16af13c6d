"""Padded sequences as packed ones, without waiting for the device to tell how much padding it is.

Shape suffixes: S sequences, L padded length.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from vlp_fast.layers.positions import Positions, TablePositions
from vlp_fast.layers.sequences import Spans


def sort_padding_last(is_padding: Tensor) -> tuple[Tensor, Spans]:
    """Orders each row's valid entries before its padding, as two sequences of their own.

    The host does not know how much padding there is, and must not wait for the device to tell. So
    the padding stays, as S more sequences that attend to themselves: only bounds are needed then.

    Returns:
        rows: (S * L,) int64 into the flattened (S, L).
        spans: 2 S sequences, valid and padding in turn, any of which may be empty.
    """
    num_sequences, length = is_padding.shape
    order = is_padding.to(torch.uint8).argsort(dim=1, stable=True)
    starts = torch.arange(num_sequences, device=is_padding.device)[:, None] * length
    padding = is_padding.sum(dim=1)
    lengths = torch.stack([length - padding, padding], dim=1).flatten()
    cu_seqlens = nn.functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
    spans = Spans(cu_seqlens=cu_seqlens, num_rows=is_padding.numel(), max_length=length)
    return (order + starts).flatten(), spans


def flat_rows(
    name: str,
    x: Tensor,
    positions: Positions | None,
    is_padding: Tensor | None,
    mask: str = "key_padding_mask",
) -> tuple[Tensor, Tensor | None]:
    """Flattens padded rows (S, L, D) and their positions, zeros on padding.

    Args:
        name: of the layer, for errors.
        x: (S, L, D).
        positions: (S, L, D), (1, L, D) or (L, D); none if None.
        is_padding: (S, L) bool; no padding if None.
        mask: what the layer calls it, for errors.

    Returns:
        Rows and positions, (S * L, D) each.

    Raises:
        ValueError: if the positions are a table or shapes or the mask's dtype are others.
    """
    if positions is not None:
        positions = _expanded(name, x, positions)
    if is_padding is not None:
        _check_mask(f"{name}: received {mask}", is_padding, x)
        x = hide_padding(x, is_padding)
        positions = None if positions is None else hide_padding(positions, is_padding)
    return x.flatten(0, 1), None if positions is None else positions.flatten(0, 1)


def with_empty_sequences(spans: Spans) -> Spans:
    """Puts an empty sequence behind each one: the queries for padding that was sorted last."""
    return replace(spans, cu_seqlens=spans.cu_seqlens.repeat_interleave(2)[1:])


def hide_padding(x: Tensor, is_padding: Tensor) -> Tensor:
    """Returns x (..., D) with zeros where is_padding (...) is True.

    Padding is not read in the end, but NaN there would spread through sums of the backward pass.
    """
    return x.masked_fill(is_padding[..., None], 0.0)


def _expanded(name: str, x: Tensor, positions: Positions) -> Tensor:
    """Positions of padded rows (S, L, D), shaped like x."""
    if isinstance(positions, TablePositions):
        raise ValueError(
            f"{name}: received a table of positions for padded rows {tuple(x.shape)}, which is for "
            "packed ones, so pass positions of shape (S, L, D)"
        )
    if positions.shape not in (x.shape, x.shape[1:], (1, *x.shape[1:])):
        raise ValueError(
            f"{name}: received positions of shape {tuple(positions.shape)}, expected "
            f"{tuple(x.shape)}, or {tuple(x.shape[1:])} for all sequences; expand them"
        )
    return positions.expand_as(x)


def _check_mask(received: str, mask: Tensor, x: Tensor) -> None:
    """Refuses a mask that is not (S, L) bool; what it holds is not read."""
    if mask.dtype == torch.bool and mask.shape == x.shape[:2]:
        return
    raise ValueError(
        f"{received} {tuple(mask.shape)} of {mask.dtype}, expected "
        f"{tuple(x.shape[:2])} bool, True on padding; pass `mask != 0` for integers with 1 on "
        "padding, `mask == 0` where 1 is a token, `mask == -inf` for a mask that is added to "
        "scores, and expand one that all sequences share"
    )
