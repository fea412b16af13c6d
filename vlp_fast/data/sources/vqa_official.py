"""VQA v2 as it is published: a file of questions and, but for the test sets, one of annotations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from sys import intern

from vlp_fast.data.samples import Question
from vlp_fast.data.sources.folders import annotation_file
from vlp_fast.data.sources.json_files import (
    Entry,
    JsonFile,
    identity,
    read_json,
    shown,
    table,
    text,
)
from vlp_fast.data.sources.pictures import PICTURE_FOLDERS, Shown, coco_names
from vlp_fast.data.sources.report import DataReport
from vlp_fast.errors import InputError

FILES = {"train": "train2014", "val": "val2014", "test": "test2015", "test-dev": "test-dev2015"}
"""Ends of the names of files."""
ANNOTATED = ("train", "val")
PEOPLE = 10
"""Answers to each question."""


def question_file(root: Path, part: str) -> Path:
    """Where the questions of "train", "val", "test" or "test-dev" are, or should be."""
    return annotation_file(root, f"v2_OpenEnded_mscoco_{FILES[part]}_questions.json")


def read_official(
    root: Path, part: str, report: DataReport
) -> Iterator[tuple[Question, tuple[Shown]]]:
    """Read a part.

    Args:
        root: holds the files, in itself or in `annotations/`.
        part: "train", "val", "test" or "test-dev".
        report: counts questions without an annotation, which are left out, and the reverse.

    Raises:
        InputError: if a file is missing or damaged, an annotation has not ten answers, or belongs
            to another question of the same id.
    """
    file = read_json(question_file(root, part))
    entries = table(file, "questions")
    annotations = _annotations(root, part, report) if part in ANNOTATED else None
    pictures: dict[int, Shown] = {}
    unused = set(annotations.entries) if annotations else set()
    for entry in entries:
        key, image_id = identity(entry, "question_id", file), identity(entry, "image_id", file)
        annotation = annotations.entries.get(key) if annotations else None
        if annotations and annotation is None:
            report.count("questions without an annotation dropped", key)
            continue
        unused.discard(key)
        if image_id not in pictures:
            pictures[image_id] = _picture(image_id, part)
        words = " ".join(text(entry, "question", file).split())
        if annotations is None or annotation is None:
            question = Question(key=key, images=(), text=words)
        else:
            question = annotations.answered(annotation, key, image_id, words)
        yield question, (pictures[image_id],)
    for key in sorted(unused):
        report.count("annotations of unknown questions passed over", key)


class _Annotations:
    """A file of annotations, by question."""

    def __init__(self, file: JsonFile, report: DataReport) -> None:
        self._file = file
        self._report = report
        self.entries: dict[int, Entry] = {}
        for entry in table(file, "annotations"):
            key = identity(entry, "question_id", file)
            first = self.entries.setdefault(key, entry)
            if first is not entry and first != entry:
                raise InputError(
                    f"{file.path}: has two different annotations of question {key}; keep the right "
                    "one"
                )
            if first is not entry:
                report.count("annotations of a question seen before dropped", key)

    def answered(self, entry: Entry, key: int, image_id: int, words: str) -> Question:
        """The question that an annotation answers."""
        file = self._file
        if identity(entry, "image_id", file) != image_id:
            raise InputError(
                f"{file.path}: question {key} is about image {shown(entry['image_id'])} here and "
                f"about image {image_id} in the file of questions; take both files from one version"
            )
        answers = table(file, "answers", of=entry)
        if len(answers) != PEOPLE:
            raise InputError(
                f"{file.path}: question {key} has {len(answers)} answers, expected {PEOPLE}; this "
                "is not the official layout, download the file again"
            )
        if len({str(answer.get("answer_id")) for answer in answers}) < PEOPLE:
            self._report.count(
                "questions whose answers lack an answer_id of their own (the official evaluator "
                "takes those that are equal for one)",
                key,
            )
        return Question(
            key=key,
            images=(),
            text=words,
            answers=tuple(intern(text(answer, "answer", file)) for answer in answers),
            majority=intern(text(entry, "multiple_choice_answer", file)),
            answer_type=intern(text(entry, "answer_type", file)),
            question_type=intern(text(entry, "question_type", file)),
        )


def _annotations(root: Path, part: str, report: DataReport) -> _Annotations:
    path = annotation_file(root, f"v2_mscoco_{FILES[part]}_annotations.json")
    return _Annotations(read_json(path), report)


def _picture(image_id: int, part: str) -> Shown:
    """COCO's picture; those of test-dev are of test2015, and 2017 dealt all of them out anew."""
    year = FILES["test" if part == "test-dev" else part]
    stated = f"COCO_{year}_{image_id:012d}"
    names = coco_names(f"{stated}.jpg")
    tests = (year, f"images/{year}", "test2017", "images/test2017")
    folders = (*tests, *PICTURE_FOLDERS) if year == FILES["test"] else (year, *PICTURE_FOLDERS)
    return Shown(image_id=image_id, names=(*names, *coco_names(f"{stated}.png")), folders=folders)
