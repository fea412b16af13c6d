"""The two splits of each folder of a run, and what of them must not be trained or measured on.

Visual Genome's pictures are COCO's in part. Beside a folder of COCO's, those that are held out
there are not trained on, and those that are trained on there are not measured on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vlp_fast.data.config import DataConfig, Layout
from vlp_fast.data.given_paths import check_roots, lies_in, shown_roots
from vlp_fast.data.leak import without_coco_ids
from vlp_fast.data.printable import printable
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources import find_layout, load_datasets
from vlp_fast.data.sources.coco_ids import held_out_ids, read_ids
from vlp_fast.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SplitPair:
    """What is trained on and what is held out, of one folder.

    Attributes:
        root: the folder.
        layout: of its files.
        train: records to train on.
        held_out: records to measure on; the same where a run measures how well it has learnt.
    """

    root: Path
    layout: Layout
    train: Dataset
    held_out: Dataset


def read_pairs(
    data: DataConfig, *, needs_boxes: bool, needs_captions: bool = True
) -> list[SplitPair]:
    """Read both splits of every folder, without the pictures that COCO's ids forbid.

    Args:
        data: the run's.
        needs_boxes: whether a data set without boxes is an error.
        needs_captions: whether an image without a caption is of no use.

    Raises:
        InputError: for whatever is wrong with them, or if one split does not fit the other.
    """
    pairs = [
        _read(root, data, needs_boxes=needs_boxes, needs_captions=needs_captions)
        for root in check_roots(data)
    ]
    pairs = _without_excluded(_without_coco_leaks(pairs, data), data)
    for pair in pairs:
        _check_left(pair.train)
    if not any(pair.held_out.records for pair in pairs):
        _check_left(pairs[0].held_out)
    return pairs


def _read(root: Path, data: DataConfig, *, needs_boxes: bool, needs_captions: bool) -> SplitPair:
    file = _karpathy_file(root, data)
    train, held_out = load_datasets(
        root,
        (data.train_split, data.held_out_split),
        layout=data.layout,
        karpathy_file=file,
        needs_boxes=needs_boxes,
        missing_images=data.missing_images,
        objects_vocabulary=data.objects_vocabulary,
        attributes_vocabulary=data.attributes_vocabulary,
        needs_captions=needs_captions,
    )
    check_classes(root, train, held_out)
    layout = find_layout(
        root, layout=data.layout, karpathy_file=file, needs_captions=needs_captions
    )
    return SplitPair(root=root, layout=layout, train=train, held_out=held_out)


def check_classes(root: Path, train: Dataset, held_out: Dataset) -> None:
    """Refuse two splits of a folder whose boxes are of other classes.

    Raises:
        InputError: if they are.
    """
    if train.num_boxes and held_out.num_boxes and train.class_names != held_out.class_names:
        raise InputError(
            f"{root}: {train.name} and {held_out.name} have other classes of objects; make "
            "the categories of both instance files the same"
        )


def _check_left(dataset: Dataset) -> None:
    if not dataset.records:
        raise InputError(
            f"{dataset.name}: no image is left ({dataset.notes[-1]}); give other data, or leave "
            "this out"
        )


def _karpathy_file(root: Path, data: DataConfig) -> Path | None:
    """The file that is given; of several folders, for the one that it lies in."""
    file = data.karpathy_file
    return file if file and (len(data.root) == 1 or lies_in(file, root)) else None


def _without_coco_leaks(pairs: Sequence[SplitPair], data: DataConfig) -> list[SplitPair]:
    """Visual Genome without what COCO's folders hold out (of training) or train on (of the rest).

    A split that is trained on is not held out.
    """
    splits = {"val", "test"} - {data.train_split}
    held_out: set[int] = set()
    learnt: set[int] = set()
    for pair in pairs:
        if len(pairs) > 1 and pair.layout in ("coco", "karpathy"):
            file = _karpathy_file(pair.root, data)
            held_out |= held_out_ids(pair.root, pair.layout, splits, karpathy_file=file)
            learnt |= {n for n in pair.train.table.coco_ids if n is not None}
    held_out -= learnt
    return [
        _without(pair, data, held_out, learnt) if pair.layout == "visual_genome" else pair
        for pair in pairs
    ]


def _without(pair: SplitPair, data: DataConfig, held_out: set[int], learnt: set[int]) -> SplitPair:
    train = without_coco_ids(pair.train, held_out, "that COCO holds out")
    if data.held_out_split == data.train_split:
        return replace(pair, train=train, held_out=train)
    rest = without_coco_ids(pair.held_out, learnt, "that COCO trains on")
    return replace(pair, train=train, held_out=rest)


def _without_excluded(pairs: list[SplitPair], data: DataConfig) -> list[SplitPair]:
    if not data.exclude:
        return pairs
    ids = read_ids(data.exclude)
    option = f"--data.exclude {printable(data.exclude)}"
    if not any(n is not None for pair in pairs for n in pair.train.table.coco_ids):
        raise InputError(
            f"{option}: no image of {shown_roots(data.root)} says which of COCO's it is; leave "
            "the option out"
        )
    left = []
    for pair in pairs:
        train = without_coco_ids(pair.train, ids, "that --data.exclude lists")
        is_same = data.held_out_split == data.train_split
        left.append(replace(pair, train=train, held_out=train if is_same else pair.held_out))
    if all(new.train is old.train for new, old in zip(left, pairs, strict=True)):
        note = f"{option}: lists {len(ids):,} ids and none of these images"
        first = left[0]
        left[0] = replace(first, train=replace(first.train, notes=(*first.train.notes, note)))
    return left
