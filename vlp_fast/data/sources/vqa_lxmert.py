"""VQA questions in LXMERT's layout: a list of {question_id, img_id, sent, label}.

A label is an object of answers with their scores; what people said is not in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from sys import intern

from vlp_fast.data.samples import Question
from vlp_fast.data.sources.json_files import (
    Entry,
    JsonFile,
    identity,
    number,
    read_json,
    shown,
    table,
    text,
)
from vlp_fast.data.sources.pictures import PICTURE_FOLDERS, Shown, coco_names
from vlp_fast.data.sources.report import DataReport
from vlp_fast.errors import InputError

_ID = re.compile(r"\d{1,18}$", re.ASCII)


def read_lxmert(path: Path, report: DataReport) -> Iterator[tuple[Question, tuple[Shown]]]:
    """Read a file; "label" is absent where answers are not public.

    Args:
        path: the file.
        report: counts scores of 0, which say nothing.

    Raises:
        InputError: if it is missing or damaged, an image has no number, or a score is none.
    """
    file = read_json(path)
    pictures: dict[str, Shown] = {}
    for entry in table(file, None):
        stated = text(entry, "img_id", file)
        if stated not in pictures:
            pictures[stated] = _picture(stated, file)
        question = Question(
            key=identity(entry, "question_id", file),
            images=(),
            text=" ".join(text(entry, "sent", file).split()),
            scores=_scores(entry, file, report),
            answer_type=_optional(entry, "answer_type", file),
            question_type=_optional(entry, "question_type", file),
        )
        yield question, (pictures[stated],)


def _picture(stated: str, file: JsonFile) -> Shown:
    """The picture of an img_id such as COCO_val2014_000000297147."""
    image_id = _ID.search(stated)
    if image_id is None:
        raise InputError(
            f"{file.path}: 'img_id' is {shown(stated)}, expected a name that ends with COCO's "
            "number; repair the entry"
        )
    part = stated.split("_")[1] if stated.startswith("COCO_") else ""
    return Shown(
        image_id=int(image_id[0]),
        names=(*coco_names(f"{stated}.jpg"), *coco_names(f"{stated}.png")),
        folders=(part, f"images/{part}", *PICTURE_FOLDERS),
    )


def _scores(entry: Entry, file: JsonFile, report: DataReport) -> tuple[tuple[str, float], ...]:
    label = entry.get("label", {})
    if not isinstance(label, dict):
        raise _wrong(entry, label, file)
    for score in label.values():
        known = number(score)
        if known is None or not 0 <= known <= 1:
            raise _wrong(entry, label, file)
        if known == 0:
            report.count("scores of 0 passed over", entry["question_id"])
    return tuple((intern(answer), float(score)) for answer, score in label.items() if float(score))


def _wrong(entry: Entry, label: object, file: JsonFile) -> InputError:
    return InputError(
        f"{file.path}: question {shown(entry['question_id'])}: 'label' is {shown(label)}, expected "
        "answers with scores from 0 to 1; repair the entry"
    )


def _optional(entry: Entry, key: str, file: JsonFile) -> str:
    return intern(text(entry, key, file)) if key in entry else ""
