"""COCO's official files as detection reads them: what is measured on is what has boxes.

The images are those of `instances_*.json`, all of them, also where nobody captioned one or nothing
is in it. A split whose answers are handed in has `image_info_*.json` alone: images and classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vlp_fast.data.annotations import Annotations, nothing_annotated
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources.coco import (
    OTHER_SPLIT,
    AbsentSplit,
    captions_by_image,
    listed_images,
    make_record,
    split_files,
)
from vlp_fast.data.sources.folders import FOLDERS, is_file, year
from vlp_fast.data.sources.image_files import ImageFiles
from vlp_fast.data.sources.instances import InstanceFiles, category_names, image_size
from vlp_fast.data.sources.json_files import JsonFile, read_json, text
from vlp_fast.data.sources.report import DataReport


def load_coco_boxes(root: Path, split: str, *, missing_images: str) -> Dataset:
    """Read one official split.

    Args:
        root: holds `annotations/` (or the files themselves) and the image folders.
        split: "train", "val", "test" or "test-dev".
        missing_images: "error" or "drop".

    Raises:
        InputError: if a file is missing or damaged.
    """
    report = DataReport()
    path = listing(root, split)
    is_annotated = path.stem.startswith("instances_")
    files = InstanceFiles([path] if is_annotated else [])
    file = files.file(path) if is_annotated else read_json(path)
    images = listed_images(file, report)
    instances = files.read(report, wanted=images)
    part = path.stem.partition("_")[2].removeprefix("info_")
    captions = _captions(root, path, part, images, report)
    places = ImageFiles(root)
    # Images of test-dev are some of test's.
    parts = dict.fromkeys((part, part.replace("-dev", "")))
    folders = (*(f"{at}{name}" for name in parts for at in ("", "images/")), split, "images", "")
    records = []
    for image_id, image in images.items():
        found_at = places.find(folders, [text(image, "file_name", file)])
        if found_at is not None:
            own, size = captions.get(image_id, ()), image_size(image, file)
            boxes = instances.boxes
            records.append(make_record(image_id, found_at, size, own, boxes, coco_id=image_id))
    places.settle(len(records), folders, missing_images, report)
    return Dataset(
        name=f"COCO {part}",
        collection="COCO",
        records=tuple(records),
        class_names=instances.class_names if is_annotated else _classes(file)[0],
        attribute_names=(),
        notes=report.lines(),
        left_out=report.left_out(),
        box_remedy=instances.boxes.remedy(),
        is_unannotated=not is_annotated,
    )


def coco_annotations(root: Path, split: str, images: Mapping[int, object]) -> Annotations:
    """What the split's file says of the objects in some images; nothing where it has none."""
    path = listing(root, split)
    if path.stem.startswith("instances_"):
        return InstanceFiles([path]).annotations(images)
    return nothing_annotated(*_classes(read_json(path)))


def coco_image_ids(root: Path, split: str) -> list[int]:
    """All images of a split, whether their files are there or not."""
    return list(listed_images(read_json(listing(root, split)), DataReport()))


def listing(root: Path, split: str) -> Path:
    """The file that lists a split's images: the newest with boxes, or the newest without.

    Raises:
        AbsentSplit: if there is none.
    """
    found = split_files(root, "instances", split)
    # "test" is not answered with the images of image_info_test-dev2017.json
    others = split_files(root, "image_info", split)
    found += [path for path in others if path.stem == f"image_info_{split}{year(path)}"]
    if found:
        return found[0]
    raise AbsentSplit(
        f"{root}: has neither instances_{split}*.json nor image_info_{split}*.json (looked in "
        f"{root} and {root / 'annotations'}); download COCO's annotations, or {OTHER_SPLIT}"
    )


def _captions(
    root: Path, path: Path, part: str, images: Mapping[int, object], report: DataReport
) -> dict[int, list[str]]:
    """Those of the file of the same part, beside the boxes or in the other usual folder."""
    name = f"captions_{part}.json"
    places = [path.with_name(name), *(root / folder / name for folder in FOLDERS)]
    found = next(filter(is_file, places), None)
    captions = captions_by_image(read_json(found), images, report) if found else {}
    for image_id in images:
        if image_id not in captions:
            report.count("images without a caption are read without a text", image_id)
    return captions


def _classes(file: JsonFile) -> tuple[tuple[str, ...], tuple[int, ...]]:
    names = category_names([file])
    return tuple(names[category] for category in sorted(names)), tuple(sorted(names))
