"""COCO's instance files: the boxes of images, from one file or from several.

A category id has one meaning in all of them, or they are refused. Each image takes its boxes from
one file: COCO's files of 2014 and 2017 annotate the same images, and ids of annotations, by which
repetitions could be told, begin anew in other people's second files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from vlp_fast.data.printable import printable
from vlp_fast.data.sources.boxes import BoxTable
from vlp_fast.data.sources.folders import year
from vlp_fast.data.sources.json_files import (
    Entry,
    JsonFile,
    flag,
    identity,
    read_json,
    shown,
    side,
    table,
    text,
)
from vlp_fast.data.sources.report import DataReport
from vlp_fast.errors import InputError

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
        names = _category_names([part.file for part in parts])
        label_of = {category: label for label, category in enumerate(sorted(names))}
        owners = _owners(parts)
        boxes = BoxTable(report, [part.file.path for part in parts])
        for part in parts:
            seen: set[int] = set()
            for annotation in table(part.file, "annotations"):
                own_id = identity(annotation, "id", part.file)
                image_id = identity(annotation, "image_id", part.file)
                category = identity(annotation, "category_id", part.file)
                owner = owners.get(image_id)
                if owner is not None and image_id not in wanted:
                    continue
                which = f"annotation {own_id} of {part.file.path.name}"
                reason = _why_not(
                    is_known=owner is not None,
                    is_owned=owner is part,
                    is_new=own_id not in seen,
                    is_crowd=flag(annotation, "iscrowd", part.file),
                    has_class=category in label_of,
                )
                seen.add(own_id)
                if reason:
                    boxes.drop(reason, which)
                else:
                    boxes.add(
                        image_id,
                        annotation.get("bbox"),
                        part.sizes[image_id],
                        label=label_of[category],
                        attribute=self._attributes.get(own_id, -1),
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

    def _wanted_parts(self, wanted: Collection[int]) -> list[_Part]:
        """Read year after year until every wanted image is listed."""
        parts: list[_Part] = []
        missing = set(wanted)
        for _, same_year in groupby(self._paths, key=year):
            if not missing and parts:
                break
            for path in same_year:
                if path not in self._parts:
                    self._parts[path] = _part(read_json(path))
                parts.append(self._parts[path])
                missing -= parts[-1].sizes.keys()
        return parts


def image_size(image: Entry, file: JsonFile) -> Size:
    """Return the (width, height) of an image's entry.

    Raises:
        InputError: if it has none.
    """
    return side(image, "width", file), side(image, "height", file)


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


def _category_names(files: Iterable[JsonFile]) -> dict[int, str]:
    """The name of each category id; files must agree."""
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


def _disagreement(path: Path, what: str, other: Path) -> InputError:
    return InputError(
        f"{printable(path)}: {what} in {printable(other)}; number the classes of all instance "
        "files alike, or move the file that does not belong out of the folder"
    )


def _why_not(
    *, is_known: bool, is_owned: bool, is_new: bool, is_crowd: bool, has_class: bool
) -> str | None:
    """Return why an annotation is left out, or None."""
    if not is_known:
        return "boxes of unknown images dropped"
    if not is_owned:
        return "boxes passed over, for the images have theirs from another file"
    if not is_new:
        return "boxes with an id seen before dropped"
    if is_crowd:
        return "crowd regions left out"
    return None if has_class else "boxes of unknown categories dropped"
