"""Answers to SNLI-VE: JSON lines {"pairID": str, "label": str}. No server, hence no other rule."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from vlp_fast.data.printable import printable
from vlp_fast.data.sources.json_files import read_json_lines, shown, text
from vlp_fast.data.sources.report import DataReport
from vlp_fast.data.sources.snli_ve import LABELS
from vlp_fast.data.submissions.complete import complete, refuse_other_split
from vlp_fast.errors import InputError
from vlp_fast.whole_file import write_whole

SPLITS = ("dev", "test")


def write_snli_ve(
    path: Path, answers: Iterable[tuple[str, str]], *, split: str, pair_ids: Collection[str]
) -> None:
    """Write the file and read it back, whole or not at all.

    Args:
        path: the file.
        answers: pairID and label by name.
        split: what was predicted, "dev" or "test".
        pair_ids: of all hypotheses of the split that have a gold label.

    Raises:
        InputError: if answers are missing, foreign or there twice, of another split, or no label.
    """
    check_split(split)
    rows = complete(answers, pair_ids, where=path, split=f"SNLI-VE {split}")
    lines = "".join(
        json.dumps({"pairID": key, "label": label}) + "\n" for key, label in rows.items()
    )

    def write(partial: Path) -> None:
        partial.write_text(lines, encoding="utf-8", newline="\n")
        check_snli_ve(partial, split=split, pair_ids=pair_ids)

    write_whole(path, write)


def check_snli_ve(path: Path, *, split: str, pair_ids: Collection[str]) -> dict[str, str]:
    """Read a file back.

    Returns:
        The labels by pairID.

    Raises:
        InputError: if an answer is missing, foreign, there twice, or no label.
    """
    check_split(split)
    return complete(_rows(path), pair_ids, where=path, split=f"SNLI-VE {split}")


def check_split(split: str) -> None:
    """Refuse a split that nobody scores answers to.

    Raises:
        InputError: naming those that can be handed in.
    """
    refuse_other_split(split, SPLITS, "SNLI-VE")


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    for line in read_json_lines(path, DataReport()):
        label = text(line.content, "label", line)
        if label not in LABELS:
            raise InputError(
                f"{printable(path)}, line {line.line}: 'label' is {shown(label)}, expected "
                f"{', '.join(LABELS)}; write the answers again"
            )
        yield text(line.content, "pairID", line), label
