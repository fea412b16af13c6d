"""SNLI-VE: JSON lines, a hypothesis each about a picture of Flickr30k.

The hypothesis is `sentence2`. `sentence1` is a caption of this very picture, kept as `premise`: a
model that reads it does another task. The files were published with the picture's name as
`Flikr30kID`, with ".jpg", and later as `Flickr30K_ID`, without.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vlp_fast.data.records import Dataset
from vlp_fast.data.samples import Hypothesis
from vlp_fast.data.sources.folders import annotation_file
from vlp_fast.data.sources.json_files import JsonFile, read_json_lines, shown, text
from vlp_fast.data.sources.pictures import PICTURE_FOLDERS, Shown, gather, id_of_name
from vlp_fast.data.sources.report import DataReport
from vlp_fast.data.sources.whose import refuse_foreign
from vlp_fast.data.store.dataset_cache import kept_or_read
from vlp_fast.errors import InputError

SPLITS = {"train": "train", "dev": "dev", "val": "dev", "test": "test"}
LABELS = ("entailment", "neutral", "contradiction")
UNDECIDED = "-"
"""The gold label where annotators did not agree."""
SPELLINGS = ("Flickr30K_ID", "Flikr30kID")


def load_snli_ve(root: Path, split: str, *, missing_images: str) -> Dataset:
    """Read one split; its samples are `Hypothesis` objects.

    Args:
        root: holds `snli_ve_{train,dev,test}.jsonl`, in itself or in `annotations/`, and a folder
            of Flickr30k's pictures.
        split: "train", "dev" (also "val") or "test".
        missing_images: "error" or "drop".

    Raises:
        InputError: if the file is missing or damaged, or pictures are missing.
    """
    split = official_split(split)

    def read() -> Dataset:
        report = DataReport()
        asked = _asked(root, split, report)
        return gather(f"SNLI-VE {split}", root, asked, missing_images=missing_images, report=report)

    how = {"missing_images": missing_images}
    return replace(kept_or_read(root, read, task="SNLI-VE", split=split, **how), needs_boxes=False)


def official_split(split: str) -> str:
    """The name of a split in its files: "dev" for "val".

    Raises:
        InputError: if there is no such split.
    """
    if split not in SPLITS:
        raise InputError(f"SNLI-VE has no split '{split}'; choose one of {', '.join(SPLITS)}")
    return SPLITS[split]


def read_hypotheses(root: Path, split: str) -> list[Hypothesis]:
    """Read the hypotheses of a split without looking for pictures; their `images` are empty.

    Raises:
        InputError: if the file is missing or damaged.
    """
    return [hypothesis for hypothesis, _ in _asked(root, official_split(split), DataReport())]


def split_file(root: Path, split: str) -> Path:
    """Where the hypotheses of "train", "dev" or "test" are, or should be."""
    return annotation_file(root, f"snli_ve_{split}.jsonl")


def _asked(root: Path, split: str, report: DataReport) -> Iterator[tuple[Hypothesis, tuple[Shown]]]:
    refuse_foreign(root, "SNLI-VE")
    path = split_file(root, split)
    for line in read_json_lines(path, report):
        key = text(line.content, "pairID", line)
        label = text(line.content, "gold_label", line)
        if label == UNDECIDED:
            report.count('hypotheses on which nobody agreed (gold label "-") dropped', key)
            continue
        if label not in LABELS:
            raise InputError(
                f"{path}: line {line.line}: 'gold_label' is {shown(label)}, expected "
                f'{", ".join(LABELS)} or "-"; repair the entry'
            )
        hypothesis = Hypothesis(
            key=key,
            images=(),
            text=" ".join(text(line.content, "sentence2", line).split()),
            label=label,
            premise=" ".join(text(line.content, "sentence1", line).split()),
        )
        yield hypothesis, (_picture(line),)


def _picture(line: JsonFile) -> Shown:
    spelling = next((key for key in SPELLINGS if key in line.content), SPELLINGS[0])
    stem = text(line.content, spelling, line).removesuffix(".jpg")
    return Shown(
        image_id=id_of_name(stem), names=(f"{stem}.jpg", f"{stem}.png"), folders=PICTURE_FOLDERS
    )
