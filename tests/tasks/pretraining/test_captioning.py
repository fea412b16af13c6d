"""Captioning's host side: teacher forcing's shift."""

from itertools import pairwise

from vlp_fast.tasks.pretraining.captioning import shift


def test_each_read_token_answers_with_the_next() -> None:
    ids = [2, 11, 12, 13, 3]
    read, answer = shift(ids)
    assert read == [2, 11, 12, 13]
    assert answer == [11, 12, 13, 3]
    assert list(zip(read, answer, strict=True)) == list(pairwise(ids))


def test_an_empty_caption_answers_with_the_end() -> None:
    assert shift([2, 3]) == ([2], [3])
