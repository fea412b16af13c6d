"""Which pictures of COCO are held out, by their ids: to keep them out of what is trained on."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from vlp_fast.data.config import Layout
from vlp_fast.data.printable import printable
from vlp_fast.data.sources.coco import captions_files
from vlp_fast.data.sources.folders import annotation_files
from vlp_fast.data.sources.json_files import identity, read_json, shown, table
from vlp_fast.data.sources.karpathy import located
from vlp_fast.errors import InputError

EXPECTED = (
    "give COCO's ids, one a line, or a file of COCO's captions or instances, or Karpathy's, with "
    "--data.exclude"
)


def held_out_ids(
    root: Path, layout: Layout, splits: Collection[str], *, karpathy_file: Path | None = None
) -> frozenset[int]:
    """Return the ids of the pictures in splits of a folder of COCO's, whatever else it lacks.

    Args:
        root: the folder.
        layout: "coco", of which the newest captions of each split count, and any image_info file;
            "karpathy", if his file gives ids of COCO; folders of other layouts hold none.
        splits: "val", "test" or both.
        karpathy_file: his file; None looks for it in the root.

    Raises:
        InputError: if a file is damaged.
    """
    if layout == "karpathy":
        path = karpathy_file or located(root)
        return _ids_of(path, splits) if path else frozenset()
    if layout != "coco":
        return frozenset()
    files = [
        path
        for split in splits
        for path in (
            *captions_files(root, split)[:1],
            *annotation_files(root, f"image_info_{split}*.json"),
        )
    ]
    return frozenset[int]().union(*(_ids_of(path, splits) for path in files))


def read_ids(path: Path) -> frozenset[int]:
    """Read COCO's ids: one a line; or all of a COCO file; or val and test of Karpathy's.

    Raises:
        InputError: if the file cannot be read, or holds anything else or nothing.
    """
    try:
        start = path.read_text(encoding="utf-8-sig").lstrip()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "not UTF-8 text"
        raise InputError(f"{printable(path)}: {reason}; {EXPECTED}") from None
    ids = _ids_of(path, ("val", "test")) if start.startswith("{") else _lines(path, start)
    if not ids:
        raise InputError(f"{printable(path)}: holds no id; {EXPECTED}")
    return ids


def _ids_of(path: Path, splits: Collection[str]) -> frozenset[int]:
    """The pictures that a JSON file lists; of Karpathy's those of the splits that are COCO's."""
    file = read_json(path)
    images = table(file, "images")
    is_karpathys = any("sentences" in image for image in images)
    if not is_karpathys:
        return frozenset(identity(image, "id", file) for image in images)
    return frozenset(
        identity(image, "cocoid", file)
        for image in images
        if image.get("split") in splits and "cocoid" in image
    )


def _lines(path: Path, content: str) -> frozenset[int]:
    ids = set()
    for number, line in enumerate(content.split("\n"), 1):
        word = line.strip()
        if word and not (word.isascii() and word.isdigit() and len(word) < 19):
            raise InputError(
                f"{printable(path)}, line {number}: is {shown(word)}, expected an id; {EXPECTED}"
            )
        ids |= {int(word)} if word else set()
    return frozenset(ids)
