"""Pictures that downstream samples show: found, made records without annotations, and numbered.

A picture that many samples show is one record. A sample goes where one of its pictures is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from vlp_fast.data.picture_file import PictureFile
from vlp_fast.data.printable import printable
from vlp_fast.data.record import Record, bare_record
from vlp_fast.data.records import Dataset
from vlp_fast.data.samples import Sample
from vlp_fast.data.sources.image_files import ImageFiles
from vlp_fast.data.sources.report import DataReport
from vlp_fast.errors import InputError

PICTURE_FOLDERS = (
    *("images", "Images", "train2017", "val2017", "images/train2017", "images/val2017"),
    *("train2014", "val2014", "images/train2014", "images/val2014"),
    *("flickr30k-images", "flickr30k_images", "flickr30k_images/flickr30k_images"),
    *("flickr30k", "flickr30k/images", "flickr30k/flickr30k-images", "images/flickr30k-images"),
    *("Flicker8k_Dataset", "Flickr8k_Dataset", "flickr8k-images", "flickr8k_images"),
    "",
)
"""Where pictures usually are, if not where an entry says: archives and hosts call folders so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A picture as annotation files name it.

    Attributes:
        image_id: the record's.
        names: file names it may have, in order of preference; the first tells it from others.
        folders: relative to the root, in order of preference.
    """

    image_id: int
    names: tuple[str, ...]
    folders: tuple[str, ...]


Asked = tuple[Sample, tuple[Shown, ...]]
"""A sample without numbers of images, and the pictures that it shows in their order."""


def gather(
    name: str,
    root: Path,
    asked: Iterable[Asked],
    *,
    missing_images: str,
    report: DataReport,
) -> Dataset:
    """Make a data set of samples.

    Args:
        name: the data set's.
        root: where the pictures are.
        asked: samples with their pictures.
        missing_images: "error" or "drop".
        report: counts what is left out; its lines become the notes.

    Raises:
        InputError: if two different samples have one key, pictures are missing, or no sample is
            left.
    """
    usable = list(_usable(asked, name, root, report))
    files = ImageFiles(root)
    pictures = {shown.names[0]: shown for _, pair in usable for shown in pair}
    paths = {key: files.find(shown.folders, shown.names) for key, shown in pictures.items()}
    folders = dict.fromkeys(folder for shown in pictures.values() for folder in shown.folders)
    files.settle(sum(path is not None for path in paths.values()), folders, missing_images, report)
    numbers: dict[str, int] = {}
    samples: list[Sample] = []
    for sample, pair in usable:
        if any(paths[shown.names[0]] is None for shown in pair):
            report.count("samples without a picture dropped", sample.key)
        else:
            images = tuple(numbers.setdefault(shown.names[0], len(numbers)) for shown in pair)
            samples.append(replace(sample, images=images))
    if not samples:
        reasons = "; ".join(report.lines()) or "its files list none"
        raise InputError(f"{printable(root)}: {name} has no sample: {reasons}")
    records = tuple(_record(pictures[key].image_id, paths[key], files) for key in numbers)
    return Dataset(
        name=name,
        records=records,
        class_names=(),
        attribute_names=(),
        notes=report.lines(),
        left_out=report.left_out(),
        needs_boxes=False,
        samples=tuple(samples),
    )


def coco_names(stated: str) -> tuple[str, ...]:
    """Names of one file: COCO 2017 dropped the prefix COCO_val2014_ of what is the same file."""
    short = stated.rpartition("_")[2]
    return (stated, short) if "COCO_" in stated else (stated,)


def id_of_name(stem: str) -> int:
    """An id for a picture that has only a name: its number, or 63 bits of a digest."""
    if stem.isascii() and stem.isdigit() and len(stem) < 19:
        return int(stem)
    digest = blake2b(stem.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _usable(asked: Iterable[Asked], name: str, root: Path, report: DataReport) -> Iterator[Asked]:
    """Each sample once, and none without words."""
    seen: dict[int | str, Asked] = {}
    for both in asked:
        sample = both[0]
        first = seen.setdefault(sample.key, both)
        if first is not both and first != both:
            raise InputError(
                f"{printable(root)}: {name} has two different samples with the id "
                f"{printable(sample.key)}; give each an id of its own"
            )
        if first is not both:
            report.count("samples with an id seen before dropped", sample.key)
        elif not sample.text:
            report.count("samples without words dropped", sample.key)
        else:
            yield both


def _record(image_id: int, path: PictureFile | None, files: ImageFiles) -> Record:
    assert path is not None  # only what was found is numbered
    width, height = files.size_of(path)
    return bare_record(image_id, path, (height, width))
