"""COCO's official files: `captions_*.json` and `instances_*.json` (2014, 2017, or alike).

Classes are the categories in the order of their official ids, numbered from 0. Regions marked
`iscrowd` are left out of training and evaluation, as DETR leaves them out of training.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlp_fast.data.records import Dataset, Record
from vlp_fast.data.sources.boxes import BoxTable
from vlp_fast.data.sources.image_files import ImageFiles
from vlp_fast.data.sources.json_files import Entry, JsonFile, identity, read_json, side, table, text
from vlp_fast.data.sources.report import DataReport
from vlp_fast.errors import InputError

FOLDERS = ("", "annotations")
"""Folders, relative to the root, in which annotation files are looked for."""
OTHER_SPLIT = "choose another split with --data.train-split or --data.held-out-split"


@dataclass(frozen=True, kw_only=True, eq=False)
class Instances:
    """The content of instance files.

    Attributes:
        class_names: of all categories.
        sizes: (width, height) of each image id.
        boxes: of each image id.
    """

    class_names: tuple[str, ...]
    sizes: Mapping[int, tuple[int, int]]
    boxes: BoxTable


def annotation_files(root: Path, pattern: str) -> list[Path]:
    """Return the annotation files that match, of the newest year only.

    A folder that holds COCO 2014 and 2017 annotates the same images twice.
    """
    files = sorted(path for folder in FOLDERS for path in (root / folder).glob(pattern))
    newest = max((_year(path) for path in files), default="")
    return [path for path in files if _year(path) == newest]


def load_coco(root: Path, split: str, *, missing_images: str) -> Dataset:
    """Read one official split.

    Args:
        root: holds `annotations/` (or the files themselves) and the image folders.
        split: "train", "val" or "test".
        missing_images: "error" or "drop".

    Raises:
        InputError: if a file is missing or damaged.
    """
    found = annotation_files(root, f"captions_{split}*.json")
    if not found:
        raise InputError(
            f"{root}: has no captions_{split}*.json (looked in {root} and {root / 'annotations'}); "
            f"download COCO's annotations, or {OTHER_SPLIT}"
        )
    path = found[-1]
    part = path.stem.removeprefix("captions_")
    report = DataReport()
    file = read_json(path)
    images = _images(file, report)
    captions = _captions(file, images, report)
    instances = read_instances([path.with_name(f"instances_{part}.json")], report, wanted=images)
    files, folders = ImageFiles(root), (part, f"images/{part}", "images", "")
    records = []
    for image_id, image in images.items():
        if image_id not in captions:
            report.count("images without a caption dropped", image_id)
            continue
        found_at = files.find(folders, [text(image, "file_name", file)])
        if found_at is None:
            continue
        size = instances.sizes.get(image_id) or _size(image, file)
        records.append(make_record(image_id, found_at, size, captions[image_id], instances.boxes))
    files.settle(len(records), folders, missing_images, report)
    return Dataset(
        name=f"COCO {part}",
        records=tuple(records),
        class_names=instances.class_names,
        attribute_names=(),
        notes=report.lines(),
        box_remedy=instances.boxes.remedy(),
    )


def read_instances(
    paths: Sequence[Path],
    report: DataReport,
    *,
    wanted: Collection[int],
    attributes: Mapping[int, int] | None = None,
) -> Instances:
    """Read instance files together; those that do not exist are passed over.

    Args:
        paths: instance files, with the same categories.
        report: counts what is left out.
        wanted: image ids whose boxes are kept.
        attributes: attribute of each annotation id, where there are any.

    Raises:
        InputError: if a file is damaged.
    """
    files = [read_json(path) for path in paths if path.is_file()]
    names: dict[int, str] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for file in files:
        for entry in table(file, "categories"):
            names[identity(entry, "id", file)] = text(entry, "name", file)
        for image in table(file, "images"):
            sizes[identity(image, "id", file)] = _size(image, file)
    label_of = {category: label for label, category in enumerate(sorted(names))}
    boxes = BoxTable(report, [file.path for file in files])
    seen: set[int] = set()
    for file in files:
        for annotation in table(file, "annotations"):
            own_id = identity(annotation, "id", file)
            image_id = identity(annotation, "image_id", file)
            category = identity(annotation, "category_id", file)
            if image_id in sizes and image_id not in wanted:
                continue
            which = f"annotation {own_id} of {file.path.name}"
            reason = _why_not(
                is_known=image_id in sizes,
                is_new=own_id not in seen,
                is_crowd=bool(annotation.get("iscrowd")),
                has_class=category in label_of,
            )
            seen.add(own_id)
            if reason:
                boxes.drop(reason, which)
            else:
                boxes.add(
                    image_id,
                    annotation.get("bbox"),
                    sizes[image_id],
                    label=label_of[category],
                    attribute=(attributes or {}).get(own_id, -1),
                    which=which,
                )
    class_names = tuple(names[category] for category in sorted(names))
    return Instances(class_names=class_names, sizes=sizes, boxes=boxes)


def clean_caption(caption: str, report: DataReport, which: object) -> str | None:
    """Collapse whitespace; None, counted, if nothing is left."""
    words = " ".join(caption.split())
    if not words:
        report.count("empty captions dropped", which)
    return words or None


def make_record(
    image_id: int,
    path: Path,
    size: tuple[int, int],
    captions: Iterable[str],
    boxes: BoxTable,
) -> Record:
    """Put a record together; `size` is (width, height)."""
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
    )


def _why_not(*, is_known: bool, is_new: bool, is_crowd: bool, has_class: bool) -> str | None:
    """Return why an annotation is left out, or None."""
    if not is_known:
        return "boxes of unknown images dropped"
    if not is_new:
        return "boxes with an id seen before dropped"
    if is_crowd:
        return "crowd regions left out"
    return None if has_class else "boxes of unknown categories dropped"


def _images(file: JsonFile, report: DataReport) -> dict[int, Entry]:
    """Return the entries by image id."""
    images: dict[int, Entry] = {}
    for image in table(file, "images"):
        image_id = identity(image, "id", file)
        if image_id in images:
            report.count("images with an id seen before dropped", image_id)
        images.setdefault(image_id, image)
    return images


def _size(image: Entry, file: JsonFile) -> tuple[int, int]:
    return side(image, "width", file), side(image, "height", file)


def _captions(file: JsonFile, images: Collection[int], report: DataReport) -> dict[int, list[str]]:
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


def _year(path: Path) -> str:
    """Digits at the end of a file's name: "2017" of instances_val2017.json."""
    stem = path.stem
    return stem[len(stem.rstrip("0123456789")) :]
