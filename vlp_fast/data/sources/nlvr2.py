"""NLVR2: a file of JSON lines a split; the names of both pictures follow from the identifier.

test1 is the public test set (test-P). The balanced and unbalanced subsets are splits of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vlp_fast.data.records import Dataset
from vlp_fast.data.samples import Statement
from vlp_fast.data.sources.folders import annotation_file, is_file
from vlp_fast.data.sources.json_files import Entry, JsonFile, read_json_lines, shown, text
from vlp_fast.data.sources.pictures import Shown, gather, id_of_name
from vlp_fast.data.sources.report import DataReport
from vlp_fast.data.sources.whose import refuse_foreign
from vlp_fast.data.store.dataset_cache import kept_or_read
from vlp_fast.errors import InputError

SPLITS = {
    "train": "train",
    "dev": "dev",
    "test1": "test1",
    "test2": "test2",
    "balanced_dev": "balanced/balanced_dev",
    "balanced_test1": "balanced/balanced_test1",
    "unbalanced_dev": "unbalanced/unbalanced_dev",
    "unbalanced_test1": "unbalanced/unbalanced_test1",
}
"""The official file of each split, without .json."""
ALIASES = {"val": "dev", "test": "test1"}
LABELS = {"True": True, "False": False}


def load_nlvr2(root: Path, split: str, *, missing_images: str) -> Dataset:
    """Read one split; its samples are `Statement`s about a left and a right picture.

    Args:
        root: holds the json files, in itself, in `annotations/` or in `data/`, and the pictures:
            `images/train/<directory>/`, `dev/`, `test1/`, or all in one folder. Or its folder
            `nlvr2/` does, as in the official repository.
        split: a key of `SPLITS`, or "val" and "test" for dev and test1.
        missing_images: "error", or "drop" for statements without both pictures.

    Raises:
        InputError: if the file is missing or damaged, or pictures are missing.
    """
    split = official_split(split)
    home = _home(root, split)

    def read() -> Dataset:
        report = DataReport()
        asked = _asked(home, split, report)
        return gather(f"NLVR2 {split}", home, asked, missing_images=missing_images, report=report)

    how = {"missing_images": missing_images}
    return replace(kept_or_read(home, read, task="NLVR2", split=split, **how), needs_boxes=False)


def official_split(split: str) -> str:
    """The name of a split in its files: "dev" for "val".

    Raises:
        InputError: if there is no such split.
    """
    if split not in SPLITS and split not in ALIASES:
        raise InputError(
            f"NLVR2 has no split '{split}'; choose one of {', '.join((*SPLITS, *ALIASES))}"
        )
    return ALIASES.get(split, split)


def read_statements(root: Path, split: str) -> list[Statement]:
    """Read the statements of a split without looking for pictures; their `images` are empty.

    Raises:
        InputError: if the file is missing or damaged.
    """
    split = official_split(split)
    return [statement for statement, _ in _asked(_home(root, split), split, DataReport())]


def statement_group(identifier: str) -> str | None:
    """The identifier without the pair's number, as the official script groups; None if it has not
    the four parts split, set, pair and sentence.
    """
    parts = identifier.split("-")
    if len(parts) != 4 or not all(parts):
        return None
    split, image_set, _, sentence = parts
    return f"{split}-{image_set}--{sentence}"


def split_file(root: Path, split: str) -> Path:
    """Where the statements of a split are, or should be."""
    return _file(_place(root, split), split)


def _home(root: Path, split: str) -> Path:
    refuse_foreign(root, "NLVR2")
    return _place(root, split)


def _place(root: Path, split: str) -> Path:
    """The root, or its folder `nlvr2/` where that has the file."""
    inner = root / "nlvr2"
    return inner if is_file(_file(inner, split)) and not is_file(_file(root, split)) else root


def _file(root: Path, split: str) -> Path:
    name = f"{SPLITS[split]}.json"
    flat = name.rpartition("/")[2]
    return annotation_file(root, name, flat, f"data/{name}", f"data/{flat}")


def _asked(
    root: Path, split: str, report: DataReport
) -> Iterator[tuple[Statement, tuple[Shown, Shown]]]:
    for line in read_json_lines(_file(root, split), report):
        entry: Entry = line.content
        identifier = text(entry, "identifier", line)
        group = statement_group(identifier)
        if group is None:
            raise _wrong(line, "identifier", "split-set-pair-sentence")
        is_hidden = "test" in split and "label" not in entry
        statement = Statement(
            key=identifier,
            images=(),
            text=" ".join(text(entry, "sentence", line).split()),
            label=None if is_hidden else _label(line),
            group=group,
        )
        folders = _folders(identifier.partition("-")[0], entry.get("directory"))
        yield statement, _pair(identifier.rpartition("-")[0], folders)


def _label(line: JsonFile) -> bool:
    label = text(line.content, "label", line)
    if label not in LABELS:
        raise _wrong(line, "label", '"True" or "False"')
    return LABELS[label]


def _pair(name: str, folders: tuple[str, ...]) -> tuple[Shown, Shown]:
    """The left and the right picture; many are JPEG files whatever their name."""
    left, right = (
        Shown(
            image_id=id_of_name(f"{name}-img{side}"),
            names=tuple(f"{name}-img{side}.{kind}" for kind in ("png", "jpg", "jpeg")),
            folders=folders,
        )
        for side in (0, 1)
    )
    return left, right


def _folders(split: str, directory: object) -> tuple[str, ...]:
    parts = (f"{split}/{directory}", split) if directory is not None else (split,)
    return (*(f"images/{part}" for part in parts), *parts, "images", "")


def _wrong(line: JsonFile, key: str, expected: str) -> InputError:
    return InputError(
        f"{line.path}: line {line.line}: '{key}' is {shown(line.content[key])}, expected "
        f"{expected}; repair the entry"
    )
