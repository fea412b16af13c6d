"""COCO's instance files: the boxes of images, from one file or from several.

A category id has one meaning in all of them, or they are refused. Each image takes its boxes from
one file: COCO's files of 2014 and 2017 annotate the same images, and ids of annotations, by which
repetitions could be told, begin anew in other people's second files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlp_fast.data.annotations import Annotations
from vlp_fast.data.printable import printable
from vlp_fast.data.sources.boxes import BoxTable, four_numbers
from vlp_fast.data.sources.folders import year
from vlp_fast.data.sources.json_files import (
    Entry,
    JsonFile,
    flag,
    identity,
    number,
    read_json,
    shown,
    side,
    table,
    text,
)
from vlp_fast.data.sources.report import DataReport
from vlp_fast.errors import InputError

LARGEST_AREA = 1e18
"""Pixels; more is a mistake."""
Size = tuple[int, int]
"""(width, height) in pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Instances:
    """The content of instance files.

    Attributes:
        class_names: of all categories, in the order of their ids.
        sizes: (width, height) of each image id, in the file that its boxes are from.
        boxes: of each image id.
    """

    class_names: tuple[str, ...]
    sizes: Mapping[int, Size]
    boxes: BoxTable


@dataclass(frozen=True, eq=False)
class _Part:
    """One file: the sizes of the images that it lists, and the ids of those that have boxes."""

    file: JsonFile
    sizes: Mapping[int, Size]
    annotated: Collection[int]


class _Seen(NamedTuple):
    """An annotation that was looked at: its place, its content, and why it is left out if it is."""

    part: _Part
    entry: Entry
    own_id: int
    image_id: int
    label: int
    is_crowd: bool
    reason: str | None


class InstanceFiles:
    """Instance files that are read together, each once for any number of splits.

    Args:
        paths: in the order of preference. Older years are read only if the newer ones do not list
            every wanted image.
        attributes: attribute of each annotation id, where there are any.
    """

    def __init__(self, paths: Sequence[Path], attributes: Mapping[int, int] | None = None) -> None:
        self._paths = paths
        self._attributes = attributes or {}
        self._parts: dict[Path, _Part] = {}

    def read(self, report: DataReport, *, wanted: Collection[int]) -> Instances:
        """Read what they say of some images.

        Args:
            report: counts what is left out.
            wanted: image ids whose boxes are kept.

        Raises:
            InputError: if a file is damaged, or files give one category id to different classes.
        """
        parts = self._wanted_parts(wanted)
        names = category_names([part.file for part in parts])
        owners = _owners(parts)
        boxes = BoxTable(report, [part.file.path for part in parts])
        for seen in _looked_at(parts, owners, wanted, names):
            reason = seen.reason or ("crowd regions left out" if seen.is_crowd else None)
            which = f"annotation {seen.own_id} of {seen.part.file.path.name}"
            if reason:
                boxes.drop(reason, which)
            else:
                boxes.add(
                    seen.image_id,
                    seen.entry.get("bbox"),
                    seen.part.sizes[seen.image_id],
                    label=seen.label,
                    attribute=self._attributes.get(seen.own_id, -1),
                    which=which,
                )
        for image_id in wanted if parts else ():
            if image_id not in owners:
                report.count("images that no instance file lists have no boxes", image_id)
        return Instances(
            class_names=tuple(names[category] for category in sorted(names)),
            sizes={image_id: part.sizes[image_id] for image_id, part in owners.items()},
            boxes=boxes,
        )

    def annotations(self, wanted: Collection[int]) -> Annotations:
        """Return what they say of some images as it is written, crowds and objects cut off too.

        Left out are boxes that are not four finite numbers, or of negative extent, and what belongs
        to no wanted image or to no class. `read` counts those.

        Raises:
            InputError: as `read`.
        """
        wanted = dict.fromkeys(wanted)
        parts = self._wanted_parts(wanted)
        names = category_names([part.file for part in parts])
        owners = _owners(parts)
        rows: list[tuple[int, int, bool, int]] = []
        boxes: list[tuple[float, ...]] = []
        for seen in _looked_at(parts, owners, wanted, names):
            box = four_numbers(seen.entry.get("bbox"))
            if seen.reason or seen.label < 0 or box is None or min(box[2:]) < 0:
                continue
            attribute = self._attributes.get(seen.own_id, -1)
            rows.append((seen.image_id, seen.label, seen.is_crowd, attribute))
            boxes.append((*box, _area(seen.entry, box)))
        image_ids, labels, is_crowd, attributes = np.array(rows, dtype=np.int64).reshape(-1, 4).T
        numbers = np.array(boxes, dtype=np.float64).reshape(-1, 5)
        return Annotations(
            class_names=tuple(names[category] for category in sorted(names)),
            category_ids=tuple(sorted(names)),
            listed=np.array(
                [image_id for image_id in wanted if image_id in owners], dtype=np.int64
            ),
            image_ids=image_ids,
            labels=labels,
            boxes=numbers[:, :4],
            areas=numbers[:, 4],
            is_crowd=is_crowd.astype(bool),
            attributes=attributes,
        )

    def file(self, path: Path) -> JsonFile:
        """The content of one of the files, which is read once.

        Raises:
            InputError: if it is damaged.
        """
        if path not in self._parts:
            self._parts[path] = _part(read_json(path))
        return self._parts[path].file

    def _wanted_parts(self, wanted: Collection[int]) -> list[_Part]:
        """Read year after year until every wanted image is listed."""
        parts: list[_Part] = []
        missing = set(wanted)
        for _, same_year in groupby(self._paths, key=year):
            if not missing and parts:
                break
            for path in same_year:
                self.file(path)
                parts.append(self._parts[path])
                missing -= parts[-1].sizes.keys()
        return parts


def image_size(image: Entry, file: JsonFile) -> Size:
    """Return the (width, height) of an image's entry.

    Raises:
        InputError: if it has none.
    """
    return side(image, "width", file), side(image, "height", file)


def category_names(files: Iterable[JsonFile]) -> dict[int, str]:
    """Return the name of each category id.

    Raises:
        InputError: if two files give an id to different classes.
    """
    names: dict[int, str] = {}
    by_id: dict[int, Path] = {}
    by_name: dict[str, tuple[int, Path]] = {}
    for file in files:
        for entry in table(file, "categories"):
            category, name = identity(entry, "id", file), text(entry, "name", file)
            if names.setdefault(category, name) != name:
                what = f"category {category} is {shown(name)} here and {shown(names[category])}"
                raise _disagreement(file.path, what, by_id[category])
            by_id.setdefault(category, file.path)
            other, path = by_name.setdefault(name, (category, file.path))
            if other != category and path != file.path:
                what = f"category {shown(name)} has the id {category} here and {other}"
                raise _disagreement(file.path, what, path)
    return names


def _part(file: JsonFile) -> _Part:
    return _Part(
        file,
        {identity(image, "id", file): image_size(image, file) for image in table(file, "images")},
        {identity(entry, "image_id", file) for entry in table(file, "annotations")},
    )


def _owners(parts: Iterable[_Part]) -> dict[int, _Part]:
    """The file that each image takes its boxes from: the first that has any, or that lists it."""
    parts = tuple(parts)
    owners: dict[int, _Part] = {}
    for part in parts:
        for image_id in part.sizes:
            if image_id in part.annotated:
                owners.setdefault(image_id, part)
    for part in parts:
        for image_id in part.sizes:
            owners.setdefault(image_id, part)
    return owners


def _disagreement(path: Path, what: str, other: Path) -> InputError:
    return InputError(
        f"{printable(path)}: {what} in {printable(other)}; number the classes of all instance "
        "files alike, or move the file that does not belong out of the folder"
    )


def _looked_at(
    parts: Iterable[_Part],
    owners: Mapping[int, _Part],
    wanted: Collection[int],
    names: Collection[int],
) -> Iterator[_Seen]:
    """Every annotation but those of known images that nobody wants, with why it is left out."""
    label_of = {category: label for label, category in enumerate(sorted(names))}
    for part in parts:
        before: set[int] = set()
        for entry in table(part.file, "annotations"):
            own_id = identity(entry, "id", part.file)
            image_id = identity(entry, "image_id", part.file)
            category = identity(entry, "category_id", part.file)
            owner = owners.get(image_id)
            if owner is not None and image_id not in wanted:
                continue
            is_crowd = flag(entry, "iscrowd", part.file)
            reason = _why_not(
                is_known=owner is not None,
                is_owned=owner is part,
                is_new=own_id not in before,
                has_class=is_crowd or category in label_of,
            )
            before.add(own_id)
            yield _Seen(part, entry, own_id, image_id, label_of.get(category, -1), is_crowd, reason)


def _why_not(*, is_known: bool, is_owned: bool, is_new: bool, has_class: bool) -> str | None:
    """Return why an annotation is left out, or None."""
    if not is_known:
        return "boxes of unknown images dropped"
    if not is_owned:
        return "boxes passed over, for the images have theirs from another file"
    if not is_new:
        return "boxes with an id seen before dropped"
    return None if has_class else "boxes of unknown categories dropped"


def _area(entry: Entry, box: tuple[float, ...]) -> float:
    """As stated, or where nothing sensible is, that of the box."""
    stated = number(entry.get("area"))
    is_area = stated is not None and 0 <= stated < LARGEST_AREA
    return float(stated) if stated is not None and is_area else box[2] * box[3]
