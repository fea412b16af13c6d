"""The file of the VQA server: a json list of {"question_id": int, "answer": str}.

The server scores test-dev too from a file with all questions of test. It takes ids that come twice
and counts the last; this does not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from vlp_fast.data.submissions.complete import refuse_other_split
from vlp_fast.data.submissions.json_list import read_list, write_list
from vlp_fast.errors import InputError

SPLIT = "test"
FIELDS = ("question_id", "answer")


def write_vqa(
    path: Path, answers: Iterable[tuple[int, str]], *, split: str, question_ids: Collection[int]
) -> None:
    """Write the file and read it back, whole or not at all.

    Args:
        path: the file.
        answers: question id and answer, which is "" for the first of the usual 3,129.
        split: what was predicted; "test".
        question_ids: of all questions of test.

    Raises:
        InputError: if answers are missing, foreign or there twice, or of another split.
    """
    check_split(split)
    write_list(path, answers, FIELDS, split="VQA test", keys=question_ids)


def check_vqa(path: Path, *, split: str, question_ids: Collection[int]) -> dict[int, str]:
    """Read a file as the server does, and more strictly.

    Returns:
        The answers by question id.

    Raises:
        InputError: if it is not what the server takes.
    """
    check_split(split)
    return read_list(path, FIELDS, split="VQA test", keys=question_ids)


def check_split(split: str) -> None:
    """Refuse a split that the server takes no answers to.

    Raises:
        InputError: naming the one that it takes.
    """
    if split == "test-dev":
        raise InputError(
            "the VQA server scores test-dev from answers to all questions of test, no other file; "
            "predict split test"
        )
    refuse_other_split(split, (SPLIT,), "VQA")
