"""Image-to-text generation (E2E-VLP section 3.1.3, eq. 2): the decoder writes the caption.

Teacher forcing: the decoder reads `[CLS] w1 .. wn` and answers `w1 .. wn [SEP]`; the start
and end tokens are BERT's, so that one vocabulary serves every head. The encoder sees the image
alone, never the caption.
"""

from __future__ import annotations


def shift(ids: list[int]) -> tuple[list[int], list[int]]:
    """Split `[CLS] w1 .. wn [SEP]` into what the decoder reads and what it must answer."""
    return ids[:-1], ids[1:]
