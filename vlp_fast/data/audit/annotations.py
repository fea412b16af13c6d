"""What is wrong with what records say: what reading left out, and what is odd about the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from vlp_fast.data.audit.finding import Finding, Level
from vlp_fast.data.audit.splits import CAPTIONS, Split
from vlp_fast.data.printable import printable
from vlp_fast.data.records import Dataset
from vlp_fast.data.samples import Question
from vlp_fast.data.split_pair import check_classes
from vlp_fast.errors import InputError

MISSING = "annotated images without a file dropped"
"""How readers count what a run refuses, unless it is asked to leave it out."""
SIGN = re.compile(r"\w+|[^\w\s]")
"""A word or a sign: each is at least one token of any vocabulary."""
SPECIAL = 2
"""[CLS] and [SEP]."""


def annotation_findings(splits: Sequence[Split], max_text_length: int) -> Iterator[Finding]:
    """What to say of the annotations of all folders."""
    yield from _refusals(splits)
    for split in splits:
        if split.dataset is None:
            continue
        yield from _left_out(split, split.dataset)
        yield from _texts(split, split.dataset, max_text_length)
        yield from _boxes(split, split.dataset)
        yield from _answers(split, split.dataset)


def _refusals(splits: Sequence[Split]) -> Iterator[Finding]:
    """In a run's own words; one that holds for several splits is told once."""
    where: dict[str, list[str]] = {}
    for split in splits:
        if split.refusal:
            where.setdefault(split.refusal, []).append(split.title)
    for root in dict.fromkeys(split.root for split in splits):
        own = {s.name: s.dataset for s in splits if s.root == root and s.task == CAPTIONS}
        train, held_out = own.get("train"), own.get("val")
        try:
            if train and held_out:
                check_classes(root, train, held_out)
        except InputError as error:
            where[str(error)] = [train.name, held_out.name] if train and held_out else []
    for message, titles in where.items():
        what, _, remedy = printable(message).rpartition("; ")
        yield Finding(
            level="refused",
            count=1,
            what=what or remedy,
            where=", ".join(titles),
            remedy=remedy,
        )


def _left_out(split: Split, dataset: Dataset) -> Iterator[Finding]:
    for what in dataset.left_out:
        if what.reason == MISSING:
            level: Level = "refused"
            remedy = "complete the download, or leave them out with --data.missing-images drop"
        elif "dropped" in what.reason:
            level, remedy = "left out", "nothing, if they can be spared; else repair the files"
        else:
            level, remedy = "told", "nothing"
        yield Finding(
            level=level,
            count=what.count,
            what="annotated images have no file" if what.reason == MISSING else what.reason,
            where=split.title,
            examples=what.examples,
            remedy=remedy,
        )


def _texts(split: Split, dataset: Dataset, max_text_length: int) -> Iterator[Finding]:
    texts = dataset.captions()
    yield from _told(
        split,
        "texts without a word",
        "take them out: nothing can be learnt from them",
        [text for text in texts if not any(character.isalnum() for character in text)],
    )
    yield from _told(
        split,
        f"texts of more than {max_text_length} tokens are cut",
        "shorten them, or raise --data.max-text-length",
        [text for text in texts if len(SIGN.findall(text)) + SPECIAL > max_text_length],
    )


def _boxes(split: Split, dataset: Dataset) -> Iterator[Finding]:
    if split.task != CAPTIONS or not split.is_train:
        return
    if not dataset.num_boxes:
        remedy = f"{dataset.box_remedy}; without, E2E-VLP takes --task.no-detection"
        yield Finding(
            level="told", count=1, what="split has no boxes", where=split.title, remedy=remedy
        )
        return
    bare = [record.path.name for record in dataset.records if not len(record.boxes)]
    yield from _told(
        split, "images without boxes", "nothing: they teach that nothing is there", bare
    )
    used = np.unique(np.concatenate([record.labels for record in dataset.records]))
    unused = sorted(set(range(len(dataset.class_names))) - set(used.tolist()))
    yield from _told(
        split,
        "classes without a box",
        "take them out of the categories, or add boxes: a model has an output for each",
        [dataset.class_names[label] for label in unused],
    )


def _answers(split: Split, dataset: Dataset) -> Iterator[Finding]:
    if split.name.startswith("test"):
        return
    questions = [sample for sample in dataset.samples if isinstance(sample, Question)]
    yield from _told(
        split,
        "questions without an answer",
        "add answers, or take them out: nothing can be learnt from them",
        [f"question {q.key}" for q in questions if not (q.answers or q.scores)],
    )


def _told(split: Split, what: str, remedy: str, examples: Sequence[str]) -> Iterator[Finding]:
    if examples:
        yield Finding(
            level="told",
            count=len(examples),
            what=what,
            where=split.title,
            examples=tuple(printable(example)[:100] for example in examples),
            remedy=remedy,
        )
