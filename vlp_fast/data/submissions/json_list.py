"""A json list of objects {id: int, answer: str}, as two servers take it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path

from vlp_fast.data.sources.json_files import identity, read_json, table, text
from vlp_fast.data.submissions.complete import complete
from vlp_fast.whole_file import write_whole

Fields = tuple[str, str]
"""Names of the id and of the answer."""


def write_list(
    path: Path,
    answers: Iterable[tuple[int, str]],
    fields: Fields,
    *,
    split: str,
    keys: Collection[int],
) -> None:
    """Write the file and read it back, whole or not at all.

    Args:
        path: the file.
        answers: id and answer.
        fields: names of the two.
        split: for messages.
        keys: ids of the split, of all its examples.

    Raises:
        InputError: if answers are missing, foreign or there twice.
    """
    rows = complete(answers, keys, where=path, split=split)
    document = [{fields[0]: key, fields[1]: answer} for key, answer in rows.items()]

    def write(partial: Path) -> None:
        partial.write_text(json.dumps(document), encoding="utf-8")
        read_list(partial, fields, split=split, keys=keys)

    write_whole(path, write)


def read_list(path: Path, fields: Fields, *, split: str, keys: Collection[int]) -> dict[int, str]:
    """Read a file.

    Returns:
        The answers by id, in the order of the keys.

    Raises:
        InputError: if it is no such list, or answers are missing, foreign or there twice.
    """
    file = read_json(path)
    rows = (
        (identity(entry, fields[0], file), text(entry, fields[1], file))
        for entry in table(file, None)
    )
    return complete(rows, keys, where=path, split=split)
