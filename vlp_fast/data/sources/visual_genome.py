"""Visual Genome's official files; its region descriptions are the captions.

Classes and attributes are the vocabularies of 1600 and 400 names that are usual for it, a line for
each with comma-separated synonyms. A box counts for the first of its names that is in the
vocabulary, and for its first attribute that is.

There is no official split: one image in fifty is held out for "val" and another for "test", by a
hash of its id. About half of the images are COCO's too, and `coco_id` says which.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp_fast.data.record import Record
from vlp_fast.data.record_table import RecordTable
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources.boxes import BoxTable
from vlp_fast.data.sources.coco import OTHER_SPLIT, AbsentSplit, clean_caption, make_record
from vlp_fast.data.sources.folders import annotation_file, is_file
from vlp_fast.data.sources.image_files import ImageFiles
from vlp_fast.data.sources.json_files import (
    Entry,
    JsonFile,
    identity,
    read_json,
    side,
    table,
    text,
    whole,
)
from vlp_fast.data.sources.json_stream import read_entries
from vlp_fast.data.sources.report import DataReport
from vlp_fast.data.store.consulted import saw_file
from vlp_fast.errors import InputError

HELD_OUT = 50
"""One image in this many is in "val", and as many in "test"."""
Images = dict[int, tuple[Entry, tuple[int, int]]]
"""Entry and (width, height) by image id."""
Captions = dict[int, dict[str, None]]
"""Region descriptions by image id, in order."""


@dataclass(frozen=True, kw_only=True)
class NameList:
    """A vocabulary file.

    Attributes:
        names: the first synonym of each line.
        index: line of every synonym.
    """

    names: tuple[str, ...]
    index: Mapping[str, int]

    def first(self, words: Any) -> int:
        """Return the index of the first word that is in the list, or -1."""
        candidates = words if isinstance(words, list) else ()
        known = (self.index.get(_normal(w), -1) for w in candidates if isinstance(w, str))
        return next((index for index in known if index >= 0), -1)


@dataclass(frozen=True, eq=False)
class _Part:
    """A split while it is read: its images, and what is left out of it."""

    split: str
    report: DataReport
    images: Images


def load_visual_genome(
    root: Path,
    splits: Sequence[str],
    *,
    missing_images: str,
    objects_vocabulary: Path | None = None,
    attributes_vocabulary: Path | None = None,
    needs_captions: bool = True,
) -> list[Dataset]:
    """Read splits, each file once; of the large ones an entry at a time.

    Args:
        root: holds `image_data.json`, `objects.json`, `region_descriptions.json`, optionally
            `attributes.json`, and the folders `VG_100K` and `VG_100K_2`.
        splits: "train", "val" or "test" each.
        missing_images: "error" or "drop".
        objects_vocabulary: class names; None looks for `objects_vocab.txt` in the root.
        attributes_vocabulary: attribute names; None looks for `attributes_vocab.txt`.
        needs_captions: whether images without a region description are dropped.

    Raises:
        InputError: if a file is missing or damaged.
    """
    classes = read_names(objects_vocabulary or annotation_file(root, "objects_vocab.txt"))
    attributes = read_names(attributes_vocabulary or annotation_file(root, "attributes_vocab.txt"))
    parts = _parts(read_json(annotation_file(root, "image_data.json")), splits)
    captions = _all_captions(annotation_file(root, "region_descriptions.json"), parts)
    of_object: dict[int, int] = {}
    if is_file(annotation_file(root, "attributes.json")):
        of_object = attributes_by_object(annotation_file(root, "attributes.json"), attributes)
    boxes = _all_boxes(annotation_file(root, "objects.json"), parts, classes, of_object)
    datasets = []
    for part, own_captions, own_boxes in zip(parts, captions, boxes, strict=True):
        records = _records(root, part, own_captions, own_boxes, missing_images, needs_captions)
        dataset = Dataset(
            name=f"Visual Genome {part.split}",
            collection="Visual Genome",
            records=RecordTable.of(records),
            class_names=classes.names,
            attribute_names=attributes.names,
            notes=part.report.lines(),
            left_out=part.report.left_out(),
            box_remedy=own_boxes.remedy(),
        )
        datasets.append(dataset)
    return datasets


def read_names(path: Path) -> NameList:
    """Read a vocabulary file: a name a line, synonyms separated by commas.

    Raises:
        InputError: if the file is missing, empty or not text.
    """
    saw_file(path)
    try:
        # Not splitlines(): it would also split at separators such as U+2028 inside a name.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "not UTF-8 text"
        raise InputError(
            f"{path}: {reason}; give the list of names, one a line, with "
            "--data.objects-vocabulary FILE or --data.attributes-vocabulary FILE"
        ) from None
    synonyms_of = [[name for name in map(_normal, line.split(",")) if name] for line in lines]
    names = [synonyms for synonyms in synonyms_of if synonyms]
    if not names:
        raise InputError(f"{path}: is empty; write a name a line")
    index: dict[str, int] = {}
    for line, synonyms in enumerate(names):
        for name in synonyms:
            index.setdefault(name, line)
    return NameList(names=tuple(synonyms[0] for synonyms in names), index=index)


def attributes_by_object(path: Path, names: NameList) -> dict[int, int]:
    """Return the attribute of each object id of an `attributes.json`, where it has a known one."""
    found: dict[int, int] = {}
    for file in read_entries(path):
        for thing in table(file, "attributes", of=file.content):
            attribute = names.first(thing.get("attributes"))
            if attribute >= 0:
                found.setdefault(identity(thing, "object_id", file), attribute)
    return found


def _parts(file: JsonFile, splits: Sequence[str]) -> list[_Part]:
    parts = []
    for split in splits:
        report = DataReport()
        parts.append(_Part(split, report, _images(file, split, report)))
    return parts


def _all_captions(path: Path, parts: Sequence[_Part]) -> list[Captions]:
    """The region descriptions of each image id, in order and without repetitions, by part."""
    captions: list[Captions] = [{} for _ in parts]
    for file in read_entries(path):
        for part, own in zip(parts, captions, strict=True):
            _add_captions(file, part, own)
    return captions


def _all_boxes(
    path: Path, parts: Sequence[_Part], classes: NameList, of_object: Mapping[int, int]
) -> list[BoxTable]:
    """Objects with their attributes, by part."""
    objects = [_Objects(part, path, classes, of_object) for part in parts]
    for file in read_entries(path):
        image_id = identity(file.content, "image_id", file)
        for own in objects:
            own.add(image_id, file)
    return [own.boxes for own in objects]


def _records(
    root: Path,
    part: _Part,
    captions: Captions,
    boxes: BoxTable,
    missing_images: str,
    needs_captions: bool,
) -> list[Record]:
    files = ImageFiles(root)
    records, folders = [], dict[str, None]()
    for image_id, (image, size) in part.images.items():
        if needs_captions and not captions.get(image_id):
            part.report.count("images without a region description dropped", image_id)
            continue
        here, name = _places(image_id, image)
        folders |= dict.fromkeys(here)
        path = files.find(here, [name])
        if path is not None:
            coco_id = whole(image.get("coco_id"))
            own = captions.get(image_id, ())
            records.append(make_record(image_id, path, size, own, boxes, coco_id=coco_id))
    files.settle(len(records), folders, missing_images, part.report)
    return records


def _images(file: JsonFile, split: str, report: DataReport) -> Images:
    """Return the split's entries and (width, height) by image id."""
    images: Images = {}
    for image in table(file, None):
        image_id = identity(image, "image_id", file)
        if image_id in images:
            report.count("images with an id seen before dropped", image_id)
        elif _split_of(image_id) == split:
            images[image_id] = (image, (side(image, "width", file), side(image, "height", file)))
    if not images:
        raise AbsentSplit(f"{file.path}: has no image in split '{split}'; {OTHER_SPLIT}")
    return images


def _split_of(image_id: int) -> str:
    digest = hashlib.blake2b(str(image_id).encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "little") % HELD_OUT
    return {0: "val", 1: "test"}.get(place, "train")


def _add_captions(file: JsonFile, part: _Part, captions: Captions) -> None:
    for region in table(file, "regions", of=file.content):
        image_id = identity(region, "image_id", file)
        if image_id not in part.images:
            continue
        which = f"region {region.get('region_id')}"
        phrase = clean_caption(text(region, "phrase", file), part.report, which)
        if phrase:
            captions.setdefault(image_id, {})[phrase] = None


class _Objects:
    """Boxes of a part; with their attributes also by the ids that were merged into them."""

    def __init__(
        self, part: _Part, path: Path, classes: NameList, of_object: Mapping[int, int]
    ) -> None:
        self.boxes = BoxTable(part.report, [path])
        self._images, self._classes, self._of_object = part.images, classes, of_object
        self._seen: set[int] = set()

    def add(self, image_id: int, file: JsonFile) -> None:
        """Those of an image, if it is of the part."""
        if image_id not in self._images:
            return
        size = self._images[image_id][1]
        for thing in table(file, "objects", of=file.content):
            own_id = identity(thing, "object_id", file)
            which = f"object {own_id} of {file.path.name}"
            label = self._classes.first(thing.get("names"))
            if own_id in self._seen:
                self.boxes.drop("boxes with an id seen before dropped", which)
            elif label < 0:
                self.boxes.drop("boxes of names outside the vocabulary dropped", which)
            else:
                self.boxes.add(
                    image_id,
                    [thing.get(key) for key in ("x", "y", "w", "h")],
                    size,
                    label=label,
                    attribute=self._attribute(own_id, thing),
                    which=which,
                )
            self._seen.add(own_id)

    def _attribute(self, own_id: int, thing: Entry) -> int:
        merged = thing.get("merged_object_ids")
        ids = [own_id, *(merged if isinstance(merged, list) else ())]
        known = map(self._of_object.get, map(whole, ids))  # type: ignore[arg-type]
        return next((found for found in known if found is not None), -1)


def _places(image_id: int, image: Entry) -> tuple[tuple[str, ...], str]:
    """Return the folders to look in and the file's name, from the last parts of the address."""
    address = image.get("url")
    parts = address.split("/") if isinstance(address, str) else []
    name = parts[-1] if parts and parts[-1] else f"{image_id}.jpg"
    stated = [parts[-2]] if len(parts) > 1 else []
    folders = [*stated, "VG_100K", "VG_100K_2"]
    return (*folders, *(f"images/{folder}" for folder in folders), "images", ""), name


def _normal(name: str) -> str:
    return " ".join(name.lower().split())
