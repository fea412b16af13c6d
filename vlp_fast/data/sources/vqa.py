"""VQA v2: the official files, or LXMERT's in their place.

minival is LXMERT's, if its `minival.json` is there; without it, 5,000 images of val (an eighth of
them, where val is smaller): those whose ids have the smallest hashes. nominival is the rest of val.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from vlp_fast.data.given_paths import check_root
from vlp_fast.data.records import Dataset
from vlp_fast.data.samples import Question
from vlp_fast.data.sources.folders import annotation_file, is_file
from vlp_fast.data.sources.pictures import Shown, gather
from vlp_fast.data.sources.report import DataReport
from vlp_fast.data.sources.vqa_lxmert import read_lxmert
from vlp_fast.data.sources.vqa_official import FILES, question_file, read_official
from vlp_fast.data.sources.whose import holds_statements, refuse_foreign
from vlp_fast.data.store.consulted import absolute_name
from vlp_fast.data.store.dataset_cache import kept_or_read
from vlp_fast.errors import InputError

SPLITS = {
    "train": ("train",),
    "val": ("val",),
    "train+val": ("train", "val"),
    "minival": ("minival",),
    "nominival": ("nominival",),
    "train+nominival": ("train", "nominival"),
    "test": ("test",),
    "test-dev": ("test-dev",),
}
"""Parts of each split."""
MINIVAL_IMAGES = 5000
AskedQuestion = tuple[Question, tuple[Shown]]
LXMERT_FILES = {
    "train": ("train.json",),
    "val": ("nominival.json", "minival.json"),
    "minival": ("minival.json",),
    "nominival": ("nominival.json",),
    "test": ("test.json",),
}
"""What serves a part where its official files are not there."""


def load_vqa(root: Path, split: str, *, missing_images: str, path: Path | None = None) -> Dataset:
    """Read one split; its samples are `Question`s.

    Example: `load_vqa(Path("vqa"), "train+nominival", missing_images="error")`.

    Args:
        root: holds the json files, in itself or in `annotations/`, and the folders of COCO's images
            (of 2014 and 2015, or of 2017).
        split: a key of `SPLITS`.
        missing_images: "error" or "drop".
        path: a file in LXMERT's layout that is the whole split, such as OK-VQA's; None looks for
            the split's own files.

    Raises:
        InputError: if a file is missing or damaged, or pictures are missing.
    """
    check_root(root)

    def read() -> Dataset:
        report = DataReport()
        asked = read_lxmert(path, report) if path else _asked(root, split, report)
        name = f"VQA {split}"
        return gather(name, root, asked, missing_images=missing_images, report=report)

    how = {"missing_images": missing_images, "path": path and absolute_name(path)}
    return replace(kept_or_read(root, read, task="VQA", split=split, **how), needs_boxes=False)


def read_questions(root: Path, split: str) -> tuple[list[Question], tuple[str, ...]]:
    """Read the questions of a split without looking for pictures.

    Returns:
        The questions, whose `images` are empty, and notes of what was left out.

    Raises:
        InputError: if a file is missing or damaged.
    """
    check_root(root)
    report = DataReport()
    questions = [question for question, _ in _asked(root, split, report)]
    return questions, report.lines()


def part_files(root: Path, part: str) -> list[Path]:
    """The files of "train", "val", "minival" and so on that are there: official, or LXMERT's."""
    official = [question_file(root, part)] if part in FILES else []
    whole = [paths for paths in (official, _theirs(root, part)) if all(map(is_file, paths))]
    return next(filter(None, whole), [])


def _asked(root: Path, split: str, report: DataReport) -> Iterator[AskedQuestion]:
    if split not in SPLITS:
        raise InputError(f"VQA has no split '{split}'; choose one of {', '.join(SPLITS)}")
    refuse_foreign(root, "VQA")
    for part in SPLITS[split]:
        yield from _part(root, part, report)


def _part(root: Path, part: str, report: DataReport) -> Iterator[AskedQuestion]:
    whole = "val" if part in ("minival", "nominival") else part
    path = question_file(root, whole)
    others = _theirs(root, part)
    if not is_file(path) and others and all(map(is_file, others)):
        for other in others:
            yield from read_lxmert(other, report)
        return
    asked = read_official(root, whole, report)
    if whole == part:
        yield from asked
        return
    everything = list(asked)
    minival = _minival(root, {shown[0].image_id for _, shown in everything})
    for sample, shown in everything:
        if (shown[0].image_id in minival) == (part == "minival"):
            yield sample, shown


def _theirs(root: Path, part: str) -> list[Path]:
    """The files of LXMERT for a part; none where those of the name are NLVR2's."""
    files = [annotation_file(root, name) for name in LXMERT_FILES.get(part, ())]
    return [] if any(map(holds_statements, files)) else files


def _minival(root: Path, image_ids: Collection[int]) -> set[int]:
    """The images of minival among those of val."""
    path = annotation_file(root, *LXMERT_FILES["minival"])
    if is_file(path):
        return {shown[0].image_id for _, shown in read_lxmert(path, DataReport())}
    wanted = min(MINIVAL_IMAGES, max(1, len(image_ids) // 8))
    return set(sorted(image_ids, key=_hash)[:wanted])


def _hash(image_id: int) -> bytes:
    return hashlib.blake2b(str(image_id).encode(), digest_size=8).digest()
