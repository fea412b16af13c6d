"""The file of NLVR2's official script: lines `identifier,True` or `identifier,False`, no header.

The script stops only where predictions are fewer than examples; this wants each exactly once. A
blank line would end the script with an error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from vlp_fast.data.printable import printable
from vlp_fast.data.sources.nlvr2 import LABELS, SPLITS
from vlp_fast.data.submissions.complete import complete, refuse_other_split
from vlp_fast.errors import InputError
from vlp_fast.whole_file import write_whole


def write_nlvr2(
    path: Path, answers: Iterable[tuple[str, bool]], *, split: str, identifiers: Collection[str]
) -> None:
    """Write the file and read it back, whole or not at all.

    Args:
        path: the file.
        answers: identifier and whether the statement is true.
        split: what was predicted, any but train.
        identifiers: of all examples of the split.

    Raises:
        InputError: if answers are missing, foreign or there twice, or of another split.
    """
    check_split(split)
    rows = complete(answers, identifiers, where=path, split=f"NLVR2 {split}")
    lines = "".join(f"{identifier},{bool(answer)}\n" for identifier, answer in rows.items())

    def write(partial: Path) -> None:
        partial.write_text(lines, encoding="utf-8", newline="\n")
        check_nlvr2(partial, split=split, identifiers=identifiers)

    write_whole(path, write)


def check_nlvr2(path: Path, *, split: str, identifiers: Collection[str]) -> dict[str, bool]:
    """Read a file as the official script does, and more strictly.

    Returns:
        The answers by identifier.

    Raises:
        InputError: if it is not what the script takes.
    """
    check_split(split)
    return complete(_rows(path), identifiers, where=path, split=f"NLVR2 {split}")


def check_split(split: str) -> None:
    """Refuse a split that nobody scores answers to.

    Raises:
        InputError: naming those that can be handed in.
    """
    refuse_other_split(split, (name for name in SPLITS if name != "train"), "NLVR2")


def _rows(path: Path) -> Iterator[tuple[str, bool]]:
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise InputError(f"{printable(path)}: {reason}; write the answers again") from None
    for number, line in enumerate(lines, 1):
        identifier, _, answer = line.removesuffix("\r").partition(",")
        if answer not in LABELS:
            raise InputError(
                f"{printable(path)}, line {number}: is '{printable(line)[:60]}', expected "
                "'identifier,True' or 'identifier,False'; write the answers again"
            )
        yield identifier, LABELS[answer]
