"""Karpathy's splits: `dataset_coco.json` and its Flickr siblings, with COCO's boxes if there.

"train" is his train and restval together, as in every captioning paper. His file names the images
of 2014; a folder with COCO 2017's images and instances serves too, for ids are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vlp_fast.data.records import Dataset
from vlp_fast.data.sources.coco import OTHER_SPLIT, AbsentSplit, clean_caption, make_record
from vlp_fast.data.sources.folders import annotation_files
from vlp_fast.data.sources.image_files import ImageFiles
from vlp_fast.data.sources.instances import InstanceFiles
from vlp_fast.data.sources.json_files import Entry, JsonFile, identity, read_json, table, text
from vlp_fast.data.sources.karpathy_file import karpathy_file
from vlp_fast.data.sources.pictures import PICTURE_FOLDERS, coco_names
from vlp_fast.data.sources.report import DataReport
from vlp_fast.errors import InputError

SPLITS = {"train": ("train", "restval"), "val": ("val",), "test": ("test",)}


def located(root: Path) -> Path | None:
    """Return the folder's file of Karpathy's, or None.

    Raises:
        InputError: if there are several and it is not clear which is meant, or a folder of pictures
            may not be listed.
    """
    files = ImageFiles(root)

    def has_picture(entry: Entry) -> bool:
        names, stated = entry.get("filename"), entry.get("filepath", "images")
        if not isinstance(names, str) or not isinstance(stated, str):
            return False
        return files.has(_folders(stated), coco_names(names))

    return karpathy_file(root, has_picture)


def load_karpathy(
    root: Path,
    splits: Sequence[str],
    *,
    path: Path | None = None,
    missing_images: str,
    attributes: Mapping[int, int] | None = None,
    attribute_names: tuple[str, ...] = (),
    needs_captions: bool = True,
) -> list[Dataset]:
    """Read splits, each file once.

    Args:
        root: holds `dataset_*.json`, and `instances_*.json` if there are boxes, in itself or in
            `annotations/`, and the image folders.
        splits: "train", "val" or "test" each.
        path: Karpathy's file; None looks for it in the root.
        missing_images: "error" or "drop".
        attributes: attribute of each annotation id of the instance files.
        attribute_names: names of those.
        needs_captions: whether images without a caption are dropped.

    Raises:
        InputError: if a file is missing or damaged, or the split is empty.
    """
    file = _read(root, path)
    instances = InstanceFiles(annotation_files(root, "instances_*.json"), attributes)
    return [
        _load(root, split, file, instances, missing_images, attribute_names, needs_captions)
        for split in splits
    ]


def karpathy_images(root: Path, split: str, path: Path | None = None) -> list[int]:
    """All images of a split, captioned or not, whether their files are there or not.

    Raises:
        InputError: if the file is missing or damaged, or has no such split.
    """
    return list(_images(_read(root, path), split, DataReport()))


def _read(root: Path, path: Path | None) -> JsonFile:
    """The file that is given, or the folder's."""
    path = path or located(root)
    if path is None:
        raise InputError(
            f"{root}: has no dataset_*.json with images, their split and sentences (looked in "
            f"{root} and {root / 'annotations'}); add Karpathy's file, or choose another layout "
            "with --data.layout"
        )
    return read_json(path)


def _load(
    root: Path,
    split: str,
    file: JsonFile,
    instance_files: InstanceFiles,
    missing_images: str,
    attribute_names: tuple[str, ...],
    needs_captions: bool,
) -> Dataset:
    report = DataReport()
    images = _images(file, split, report)
    instances = instance_files.read(report, wanted=images)
    files = ImageFiles(root)
    records, folders = [], dict[str, None]()
    for image_id, image in images.items():
        captions = _captions(image, file, report)
        if not captions and needs_captions:
            report.count("images without a caption dropped", image_id)
            continue
        here = _folders(text(image, "filepath", file) if "filepath" in image else "images")
        folders |= dict.fromkeys(here)
        found = files.find(here, coco_names(text(image, "filename", file)))
        if found is not None:
            size = instances.sizes.get(image_id) or files.size_of(found)
            coco_id = image_id if "cocoid" in image else None
            records.append(
                make_record(image_id, found, size, captions, instances.boxes, coco_id=coco_id)
            )
    files.settle(len(records), folders, missing_images, report)
    collection = file.path.stem.removeprefix("dataset_")
    return Dataset(
        name=f"{collection} {split} (Karpathy)",
        collection=f"{collection} (Karpathy)",
        records=tuple(records),
        class_names=instances.class_names,
        attribute_names=attribute_names,
        notes=report.lines(),
        left_out=report.left_out(),
        box_remedy=instances.boxes.remedy(),
    )


def _images(file: JsonFile, split: str, report: DataReport) -> dict[int, Entry]:
    """Return the split's entries by image id (COCO's where there is one)."""
    images: dict[int, Entry] = {}
    for image in table(file, "images"):
        if text(image, "split", file) not in SPLITS.get(split, ()):
            continue
        image_id = identity(image, "cocoid" if "cocoid" in image else "imgid", file)
        if image_id in images:
            report.count("images with an id seen before dropped", image_id)
        else:
            images[image_id] = image
    if not images:
        raise AbsentSplit(f"{file.path}: has no image in split '{split}'; {OTHER_SPLIT}")
    return images


def _captions(image: Entry, file: JsonFile, report: DataReport) -> tuple[str, ...]:
    which = f"of image {image.get('filename')}"
    raw = [text(sentence, "raw", file) for sentence in table(file, "sentences", of=image)]
    cleaned = [clean_caption(caption, report, which) for caption in raw]
    return tuple(caption for caption in cleaned if caption)


def _folders(stated: str) -> tuple[str, ...]:
    return (stated, f"images/{stated}", *PICTURE_FOLDERS)
