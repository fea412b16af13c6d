"""Captioning's host side: teacher forcing's shift, and cutting at the end token."""

from itertools import pairwise

import torch

from vlp_fast.tasks.pretraining.captioning import shift, until_end


def test_each_read_token_answers_with_the_next() -> None:
    ids = [2, 11, 12, 13, 3]
    read, answer = shift(ids)
    assert read == [2, 11, 12, 13]
    assert answer == [11, 12, 13, 3]
    assert list(zip(read, answer, strict=True)) == list(pairwise(ids))


def test_an_empty_caption_answers_with_the_end() -> None:
    assert shift([2, 3]) == ([2], [3])


def test_rows_are_cut_at_the_first_end_token() -> None:
    ids = torch.tensor([[7, 8, 3, 9, 3], [3, 3, 3, 3, 3], [4, 5, 6, 7, 8], [5, 3, 3, 3, 3]])
    assert until_end(ids, 3) == [[7, 8], [], [4, 5, 6, 7, 8], [5]]
