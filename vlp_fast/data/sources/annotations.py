"""The annotated objects of a split that is measured on, in any layout that has boxes.

Read apart from the records, which hold what is learnt from: only COCO's protocol asks for crowds,
areas and boxes as they are written, and only of the images that a run is measured on.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vlp_fast.data.annotations import Annotations, annotations_of
from vlp_fast.data.config import Layout
from vlp_fast.data.printable import printable
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources.coco_boxes import coco_annotations, coco_image_ids
from vlp_fast.data.sources.coco_ids import held_out_ids
from vlp_fast.data.sources.drawn_world import colours_by_object
from vlp_fast.data.sources.folders import annotation_files
from vlp_fast.data.sources.instances import InstanceFiles
from vlp_fast.data.store.consulted import noting
from vlp_fast.data.store.dataset_cache import entry_path, keep_arrays, kept_arrays, uncollected
from vlp_fast.errors import InputError

WORDS = ("class_names", "category_ids")
"""What is kept of annotations besides arrays."""


def read_annotations(root: Path, layout: Layout, split: str, dataset: Dataset) -> Annotations:
    """Read what the files say of the objects in a data set's images; large ones the first time.

    Args:
        root: the data set's folder.
        layout: of its files; not "auto".
        split: the split of these images.
        dataset: its images. Visual Genome's files have no areas and no crowds, and what its records
            say is all.

    Raises:
        InputError: if a file is missing or damaged.
    """
    wanted = dataset.table.image_ids
    if layout == "visual_genome":
        return annotations_of(dataset.table, dataset.class_names)
    path = entry_path(root, annotations=layout, split=split)
    with uncollected():
        found = kept_arrays(path, _annotations)
    if found is None or not np.isin(wanted, found.asked).all():
        with noting() as noted, uncollected():
            annotations = _read(root, layout, split, wanted)
        found = _Kept(np.array(wanted, dtype=np.int64), annotations)
        keep_arrays(path, *found.parts(), noted)
    return found.annotations.of(wanted)


def image_ids(root: Path, layout: Layout, split: str) -> list[int]:
    """All images of a split whose answers are handed in, whether they are there or not.

    Raises:
        InputError: if the layout is none of COCO's own splits, or a file is missing or damaged.
    """
    if layout == "coco":
        return coco_image_ids(root, split)
    if layout == "world":
        return sorted(held_out_ids(root, "karpathy", {split}))
    raise InputError(
        f"{printable(root)}: its layout is {layout}, and COCO's server scores the official splits "
        "of COCO alone; give its folder with --data.root, or --data.layout coco"
    )


class _Kept(NamedTuple):
    """Annotations, and the images that they were read for."""

    asked: np.ndarray
    annotations: Annotations

    def parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """As arrays and words."""
        held = vars(self.annotations)
        arrays = {name: value for name, value in held.items() if name not in WORDS}
        return arrays | {"asked": self.asked}, {name: held[name] for name in WORDS}


def _annotations(arrays: dict[str, np.ndarray], words: dict[str, Any]) -> _Kept:
    fields: dict[str, Any] = {name: arrays[name] for name in arrays if name != "asked"}
    fields |= {name: tuple(words[name]) for name in WORDS}
    return _Kept(arrays["asked"], Annotations(**fields))


def _read(root: Path, layout: Layout, split: str, wanted: Collection[int]) -> Annotations:
    if layout == "coco":
        return coco_annotations(root, split, dict.fromkeys(wanted))
    colours = colours_by_object(root) if layout == "world" else None
    return InstanceFiles(annotation_files(root, "instances_*.json"), colours).annotations(wanted)
