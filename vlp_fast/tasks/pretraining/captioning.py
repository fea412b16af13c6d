"""Image-to-text generation (E2E-VLP section 3.1.3, eq. 2): the decoder writes the caption.

Teacher forcing: the decoder reads `[CLS] w1 .. wn` and answers `w1 .. wn [SEP]`; the start
and end tokens are BERT's, so that one vocabulary serves every head. The encoder sees the image
alone, never the caption.
"""

from __future__ import annotations

import torch
from torch import Tensor


def shift(ids: list[int]) -> tuple[list[int], list[int]]:
    """Split `[CLS] w1 .. wn [SEP]` into what the decoder reads and what it must answer."""
    return ids[:-1], ids[1:]


def until_end(ids: Tensor, end_id: int) -> list[list[int]]:
    """Cut generated rows (S, L) at their first end token, on the host."""
    rows = torch.nn.functional.pad(ids, (0, 1), value=end_id).tolist()
    return [row[: row.index(end_id)] for row in rows]
