"""COCO's official files: `captions_*.json` and `instances_*.json` (2014, 2017, or alike).

Classes are the categories in the order of their official ids, numbered from 0. Regions marked
`iscrowd` are left out of training and evaluation, as DETR leaves them out of training.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from vlp_fast.data.picture_file import PictureFile
from vlp_fast.data.record import Record
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources.boxes import BoxTable
from vlp_fast.data.sources.folders import FOLDERS, annotation_files, is_file, year
from vlp_fast.data.sources.image_files import ImageFiles
from vlp_fast.data.sources.instances import InstanceFiles, image_size
from vlp_fast.data.sources.json_files import (
    Entry,
    JsonFile,
    identity,
    read_json,
    shown,
    table,
    text,
)
from vlp_fast.data.sources.report import DataReport
from vlp_fast.errors import InputError

OTHER_SPLIT = (
    "choose another split with --data.train-split or --data.held-out-split (--split of `vlp-fast "
    "evaluate`)"
)


class AbsentSplit(InputError):
    """A folder has no files, or no image, of a split."""


def load_coco(root: Path, split: str, *, missing_images: str) -> Dataset:
    """Read one official split.

    Args:
        root: holds `annotations/` (or the files themselves) and the image folders.
        split: "train", "val" or "test".
        missing_images: "error" or "drop".

    Raises:
        InputError: if a file is missing or damaged.
    """
    report = DataReport()
    path = _captions_file(root, split, report)
    part = path.stem.removeprefix("captions_")
    file = read_json(path)
    images = listed_images(file, report)
    captions = captions_by_image(file, images, report)
    instances = InstanceFiles(_instance_file(root, path, part)).read(report, wanted=images)
    files = ImageFiles(root)
    folders = (part, f"images/{part}", split, f"images/{split}", "images", "")
    records = []
    for image_id, image in images.items():
        if image_id not in captions:
            report.count("images without a caption dropped", image_id)
            continue
        found_at = files.find(folders, [text(image, "file_name", file)])
        if found_at is None:
            continue
        size = instances.sizes.get(image_id) or image_size(image, file)
        own, boxes = captions[image_id], instances.boxes
        records.append(make_record(image_id, found_at, size, own, boxes, coco_id=image_id))
    files.settle(len(records), folders, missing_images, report)
    return Dataset(
        name=f"COCO {part}",
        collection="COCO",
        records=tuple(records),
        class_names=instances.class_names,
        attribute_names=(),
        notes=report.lines(),
        left_out=report.left_out(),
        box_remedy=instances.boxes.remedy(),
    )


def caption_images(root: Path, split: str) -> list[int]:
    """All images of a split, captioned or not, whether their files are there or not.

    Raises:
        InputError: if the split's file is missing or damaged.
    """
    report = DataReport()
    return list(listed_images(read_json(_captions_file(root, split, report)), report))


def captions_files(root: Path, split: str) -> list[Path]:
    """The split's files of captions, the best first: the newest of the split itself."""
    return split_files(root, "captions", split)


def split_files(root: Path, kind: str, split: str) -> list[Path]:
    """A split's files of a kind, such as "instances", the best first, as of captions."""
    found = annotation_files(root, f"{kind}_{split}*.json")
    return sorted(found, key=lambda path: path.stem != f"{kind}_{split}{year(path)}")


def clean_caption(caption: str, report: DataReport, which: object) -> str | None:
    """Collapse whitespace; None, counted, if nothing is left."""
    words = " ".join(caption.split())
    if not words:
        report.count("empty captions dropped", which)
    return words or None


def make_record(
    image_id: int,
    path: PictureFile,
    size: tuple[int, int],
    captions: Iterable[str],
    boxes: BoxTable,
    *,
    coco_id: int | None,
) -> Record:
    """Put a record together; `size` is (width, height), `coco_id` the picture's id in COCO."""
    corners, labels, attributes = boxes.arrays(image_id)
    return Record(
        image_id=image_id,
        path=path,
        width=size[0],
        height=size[1],
        captions=tuple(captions),
        boxes=corners,
        labels=labels,
        attributes=attributes,
        coco_id=coco_id,
    )


def listed_images(file: JsonFile, report: DataReport) -> dict[int, Entry]:
    """Return the entries of a file's images by image id.

    Raises:
        InputError: if one id is of two images.
    """
    images: dict[int, Entry] = {}
    for image in table(file, "images"):
        image_id = identity(image, "id", file)
        first = images.setdefault(image_id, image)
        if first is image:
            continue
        if first.get("file_name") != image.get("file_name"):
            raise InputError(
                f"{file.path}: image {image_id} is {shown(first.get('file_name'))} and "
                f"{shown(image.get('file_name'))}; give each image an id of its own"
            )
        report.count("images with an id seen before dropped", image_id)
    return images


def captions_by_image(
    file: JsonFile, images: Collection[int], report: DataReport
) -> dict[int, list[str]]:
    """Return the captions of each image id."""
    captions: dict[int, list[str]] = {}
    seen: set[int] = set()
    for annotation in table(file, "annotations"):
        own_id = identity(annotation, "id", file)
        image_id = identity(annotation, "image_id", file)
        caption = clean_caption(text(annotation, "caption", file), report, own_id)
        if image_id not in images:
            report.count("captions of unknown images dropped", own_id)
        elif own_id in seen:
            report.count("captions with an id seen before dropped", own_id)
        elif caption:
            captions.setdefault(image_id, []).append(caption)
        seen.add(own_id)
    return captions


def _captions_file(root: Path, split: str, report: DataReport) -> Path:
    """The newest of the split itself; `captions_valminusminival2014.json` is another than val."""
    found = captions_files(root, split)
    if not found:
        raise AbsentSplit(
            f"{root}: has no captions_{split}*.json (looked in {root} and {root / 'annotations'}); "
            f"download COCO's annotations, or {OTHER_SPLIT}"
        )
    for other in found[1:]:
        report.count(f"other files of captions passed over for {found[0].name}", other.name)
    return found[0]


def _instance_file(root: Path, captions: Path, part: str) -> list[Path]:
    """The instance file of the same part, beside the captions or in the other usual folder."""
    name = f"instances_{part}.json"
    places = [captions.with_name(name), *(root / folder / name for folder in FOLDERS)]
    return [path for path in places if is_file(path)][:1]
