"""Held-out pictures that are in a training split, and pictures that are there twice.

A picture is the same if its file has the same content, or if Visual Genome says which of COCO's it
is. The same name with another content proves nothing, since numbers begin anew in other people's
files, but it may be a copy that was resized: a person has to look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from vlp_fast.data.audit.cache import Look
from vlp_fast.data.audit.finding import Finding, Level
from vlp_fast.data.audit.splits import CAPTIONS, Split
from vlp_fast.data.leak import file_key
from vlp_fast.data.picture_file import PictureFile
from vlp_fast.data.printable import printable
from vlp_fast.data.record import Record

Looks = Mapping[PictureFile, Look]
SAME_CONTENT = "pictures are in {other} too (same content)"
SAME_COCO_ID = "pictures are in {other} too (same id in COCO)"
SAME_NAME = "pictures have the name of another one in {other}"


def leak_findings(splits: Sequence[Split], looks: Looks) -> Iterator[Finding]:
    """Compare each held-out split with what is trained on for it."""
    for held_out in splits:
        for train in splits:
            if train.is_train and not held_out.is_train and _concerns(train, held_out):
                yield from _compare(held_out, train, looks)


def duplicate_findings(splits: Sequence[Split], looks: Looks) -> Iterator[Finding]:
    """Files of the same content in one split."""
    for split in splits:
        if split.task == "NLVR2":  # whose pairs share pictures, under a name for each pair
            continue
        first: dict[str, Record] = {}
        copies = []
        for record in split.records:
            digest = looks[record.path].sha256
            known = first.setdefault(digest, record) if digest else record
            if known.path != record.path:
                copies.append(f"{record.path.name} is {known.path.name}")
        yield from _found(
            "told",
            "pictures are there twice in this split (same content)",
            "take one of each pair out, or let it be shown twice",
            copies,
            split,
        )


def _concerns(train: Split, held_out: Split) -> bool:
    """Whether somebody who measures on one may have trained on the other."""
    return train.task in (CAPTIONS, held_out.task)


def _compare(held_out: Split, train: Split, looks: Looks) -> Iterator[Finding]:
    contents = {looks[record.path].sha256 for record in train.records} - {""}
    names = {file_key(record.path.name) for record in train.records}
    has_ids = "visual_genome" in (train.layout, held_out.layout) and train is not held_out
    ids = {record.coco_id for record in train.records} - {None} if has_ids else set()
    same: dict[str, list[str]] = {SAME_CONTENT: [], SAME_COCO_ID: [], SAME_NAME: []}
    for record in held_out.records:
        if looks[record.path].sha256 in contents:
            same[SAME_CONTENT].append(record.path.name)
        elif record.coco_id in ids:
            same[SAME_COCO_ID].append(record.path.name)
        elif file_key(record.path.name) in names and not _is_of_one_folder(held_out, train):
            same[SAME_NAME].append(record.path.name)
    for what, examples in same.items():
        level: Level = "told" if what is SAME_NAME else "leaked"
        yield from _found(
            level,
            what.format(other=train.title),
            _remedy(held_out, train, what),
            examples,
            held_out,
        )


def _is_of_one_folder(held_out: Split, train: Split) -> bool:
    """There names are the data set's own, and what is another picture has been seen to be one."""
    return held_out.root == train.root


def _remedy(held_out: Split, train: Split, what: str) -> str:
    if what is SAME_NAME:
        return "look whether they are the same pictures, resized; if so, train on one of the two"
    if what is SAME_COCO_ID:
        return "a run of both leaves them out; for a run of one, give --data.exclude FILE"
    if held_out.task != train.task:
        return "say so beside your figures, or pre-train without them"
    return "take them out of one of the splits"


def _found(
    level: Level, what: str, remedy: str, examples: Iterable[str], split: Split
) -> Iterator[Finding]:
    names = tuple(printable(name) for name in examples)
    if names:
        yield Finding(
            level=level,
            count=len(names),
            what=what,
            where=split.title,
            examples=names,
            remedy=remedy,
        )
