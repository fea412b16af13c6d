"""Padded sequences as packed ones, without waiting for the device to tell how much padding it is.

Shape suffixes: S sequences, L padded length.
"""

import torch
from torch import Tensor, nn

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


def check_padding_mask(name: str, mask: Tensor, num_sequences: int, length: int) -> None:
    """Refuses a mask that is not (S, L) bool; what it holds is not read.

    Raises:
        ValueError: so.
    """
    if mask.dtype == torch.bool and mask.shape == (num_sequences, length):
        return
    raise ValueError(
        f"{name}: received key_padding_mask {tuple(mask.shape)} of {mask.dtype}, expected "
        f"({num_sequences}, {length}) bool, True on padding; pass `mask != 0` for integers with 1 "
        "on padding, `mask == 0` where 1 is a token, `mask == -inf` for a mask that is added to "
        "scores, and expand one that all sequences share"
    )
