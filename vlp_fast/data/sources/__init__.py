"""Data sets in the layouts they are published in, read as they are: no conversion step.

annotations.py    objects of a split that is measured on
boxes.py          boxes made safe
captioned.py      all images of a split of captions
coco.py           COCO's official files
coco_boxes.py     COCO's files as detection reads them
coco_ids.py       which pictures of COCO are held out
drawn_world.py    the world, with its truth
folders.py        folders and files that may not be there
image_files.py    where the images are
instances.py      COCO's boxes, from one file or several
json_files.py     JSON checked where it is read
json_stream.py    lists of objects, one at a time
karpathy.py       Karpathy's splits
karpathy_file.py  which file is Karpathy's
nlvr2.py          statements about two pictures
pictures.py       samples and the pictures that they show become a data set
report.py         what was left out, counted
snli_ve.py        hypotheses about a picture
visual_genome.py  objects, attributes, region descriptions
vqa.py            questions and their splits
vqa_lxmert.py     questions with scores in LXMERT's layout
vqa_official.py   questions and ten answers each
whose.py          what a folder of another task holds
zipped.py         annotation files in zip files
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict, Unpack

from vlp_fast.data.config import Layout
from vlp_fast.data.given_paths import check_root
from vlp_fast.data.printable import printable
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources.coco import load_coco
from vlp_fast.data.sources.coco_boxes import load_coco_boxes
from vlp_fast.data.sources.drawn_world import load_drawn_world
from vlp_fast.data.sources.folders import annotation_files, is_file
from vlp_fast.data.sources.json_files import read_json
from vlp_fast.data.sources.karpathy import load_karpathy, located
from vlp_fast.data.sources.karpathy_file import other_files
from vlp_fast.data.sources.visual_genome import load_visual_genome
from vlp_fast.data.sources.whose import described
from vlp_fast.data.store.consulted import noting
from vlp_fast.data.store.dataset_cache import entry_path, keep, kept, uncollected
from vlp_fast.errors import InputError

SPLITS = ("train", "val", "test")


class Reading(TypedDict, total=False):
    """How a folder is read.

    Attributes:
        layout: "auto" looks at the files: the drawn world, Karpathy, COCO, Visual Genome, in this
            order. Name one where a folder holds several.
        karpathy_file: Karpathy's file, which decides the layout; None looks for it in the root.
        missing_images: "error", or "drop" to leave out images without a file.
        objects_vocabulary: Visual Genome's class names, if not `objects_vocab.txt` in the root.
        attributes_vocabulary: its attribute names, if not `attributes_vocab.txt` in the root.
        needs_captions: whether an image without a caption is of no use. If not, COCO's images are
            those that are annotated with boxes, and there may be no captions at all.
    """

    layout: Layout
    karpathy_file: Path | None
    missing_images: str
    objects_vocabulary: Path | None
    attributes_vocabulary: Path | None
    needs_captions: bool


USUAL = Reading(
    layout="auto",
    karpathy_file=None,
    missing_images="error",
    objects_vocabulary=None,
    attributes_vocabulary=None,
    needs_captions=True,
)
"""Where nothing else is said."""


def load_dataset(
    root: Path, split: str, *, needs_boxes: bool = False, **reading: Unpack[Reading]
) -> Dataset:
    """Read one split of a data set: as `load_datasets`, of one.

    Example: `load_dataset(Path("coco"), "train")` reads `coco/dataset_coco.json` if it is there,
    else `coco/annotations/captions_train2017.json`; boxes come from `instances_*.json`.
    """
    (dataset,) = load_datasets(root, (split,), needs_boxes=needs_boxes, **reading)
    return dataset


def load_datasets(
    root: Path,
    splits: Sequence[str],
    *,
    needs_boxes: bool = False,
    **reading: Unpack[Reading],
) -> list[Dataset]:
    """Read splits of a data set, each annotation file once for all; large ones only the first time.

    What was read of large files is kept in the user's cache folder (`store/dataset_cache.py`).

    Args:
        root: folder of the data set.
        splits: "train", "val" or "test" each.
        needs_boxes: whether a data set without boxes is an error.
        reading: how the folder is read, where it is not as `USUAL`.

    Raises:
        InputError: if the folder is missing, has another layout, has damaged files, no caption,
            or no boxes where they are needed.
    """
    check_root(root)
    known = SPLITS if reading.get("needs_captions", True) else (*SPLITS, "test-dev")
    for split in splits:
        if split not in known:
            raise InputError(f"split '{split}' is unknown; choose one of {', '.join(known)}")
    if unknown := set(reading) - set(USUAL):
        raise TypeError(f"load_datasets: received {unknown}, expected of {', '.join(USUAL)}")
    how = Reading(**{**USUAL, **reading})
    entries = {split: entry_path(root, split=split, **how) for split in splits}
    found = {split: kept(path, root) for split, path in entries.items()}
    missing = [split for split, dataset in found.items() if dataset is None]
    if missing:
        with noting() as noted, uncollected():
            read = _read(root, missing, how)
        for split, dataset in zip(missing, read, strict=True):
            found[split] = replace(dataset, records=dataset.table)
            keep(entries[split], dataset, root, noted)
    datasets = (found[split] for split in splits)
    return [_checked(replace(d, needs_boxes=needs_boxes), root) for d in datasets if d is not None]


def _read(root: Path, splits: Sequence[str], how: Reading) -> list[Dataset]:
    layout, karpathy_file = how["layout"], how["karpathy_file"]
    missing_images, needs_captions = how["missing_images"], how["needs_captions"]
    notes = _passed_over(root) if layout == "auto" and not karpathy_file else ()
    layout = find_layout(
        root, layout=layout, karpathy_file=karpathy_file, needs_captions=needs_captions
    )
    if layout == "visual_genome":
        datasets = load_visual_genome(
            root,
            splits,
            missing_images=missing_images,
            objects_vocabulary=how["objects_vocabulary"],
            attributes_vocabulary=how["attributes_vocabulary"],
            needs_captions=needs_captions,
        )
    elif layout == "coco":
        load = load_coco if needs_captions else load_coco_boxes
        datasets = [load(root, split, missing_images=missing_images) for split in splits]
    elif layout == "world":
        datasets = load_drawn_world(root, splits, missing_images=missing_images)
    else:
        datasets = load_karpathy(
            root,
            splits,
            path=karpathy_file,
            missing_images=missing_images,
            needs_captions=needs_captions,
        )
    return [replace(dataset, notes=(*dataset.notes, *notes)) for dataset in datasets]


def find_layout(
    root: Path,
    *,
    layout: Layout = "auto",
    karpathy_file: Path | None = None,
    needs_captions: bool = True,
) -> Layout:
    """Return the layout of a folder: the one that is named, or what its files are in.

    Where captions are not needed, COCO's boxes alone are its layout too.

    Raises:
        InputError: if it is none of those that are known.
    """
    if layout != "auto":
        return layout
    return "karpathy" if karpathy_file else _detect(root, needs_captions=needs_captions)


def _detect(root: Path, *, needs_captions: bool) -> Layout:
    if is_file(root / "world.json"):
        return "world"
    if located(root):
        return "karpathy"
    if annotation_files(root, "captions_*.json"):
        return "coco"
    if annotation_files(root, "image_data.json"):
        return "visual_genome"
    if not needs_captions and annotation_files(root, "instances_*.json"):
        return "coco"
    for path in other_files(root):
        read_json(path)  # an empty or damaged one says so itself
    others = "".join(f"; {note}" for note in _passed_over(root)) + described(root)
    raise InputError(
        f"{root}: no known layout{others}; looked there and in {root / 'annotations'} for "
        "dataset_*.json (Karpathy), captions_*.json (COCO) and image_data.json (Visual Genome); "
        "give the folder that holds one of them with --data.root"
    )


def _passed_over(root: Path) -> tuple[str, ...]:
    return tuple(
        f"{printable(path.name)} has no images with their split and sentences: not Karpathy's"
        for path in other_files(root)
    )


def _checked(dataset: Dataset, root: Path) -> Dataset:
    """Complain about a data set that cannot serve; remark what it lacks."""
    if not dataset.records:
        reasons = "; ".join(dataset.notes) or "the annotation files list none"
        raise InputError(f"{root}: {dataset.name} has no image with a caption: {reasons}")
    if dataset.num_boxes or dataset.is_unannotated:
        return dataset
    if dataset.needs_boxes:
        reasons = "; ".join((*dataset.notes, dataset.box_remedy))
        raise InputError(
            f"{root}: {dataset.name} has no boxes, and detection needs them: {reasons}, or switch "
            "detection off with --task.no-detection"
        )
    return replace(dataset, notes=(*dataset.notes, "no boxes: detection is not possible"))
