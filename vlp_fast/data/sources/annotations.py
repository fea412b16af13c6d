"""The annotated objects of a split that is measured on, in any layout that has boxes.

Read apart from the records, which hold what is learnt from: only COCO's protocol asks for crowds,
areas and boxes as they are written, and only of the images that a run is measured on.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from vlp_fast.data.annotations import Annotations, annotations_of
from vlp_fast.data.config import Layout
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources.coco_boxes import coco_annotations
from vlp_fast.data.sources.drawn_world import colours_by_object
from vlp_fast.data.sources.folders import annotation_files
from vlp_fast.data.sources.instances import InstanceFiles


def read_annotations(root: Path, layout: Layout, split: str, dataset: Dataset) -> Annotations:
    """Read what the files say of the objects in a data set's images.

    Args:
        root: the data set's folder.
        layout: of its files; not "auto".
        split: the split of these images.
        dataset: its images. Visual Genome's files have no areas and no crowds, and what its records
            say is all.

    Raises:
        InputError: if a file is missing or damaged.
    """
    if layout == "visual_genome":
        return annotations_of(dataset.table, dataset.class_names)
    return _of_files(root, layout, split, dataset.table.image_ids)


def _of_files(root: Path, layout: Layout, split: str, wanted: Collection[int]) -> Annotations:
    if layout == "coco":
        return coco_annotations(root, split, dict.fromkeys(wanted))
    colours = colours_by_object(root) if layout == "world" else None
    return InstanceFiles(annotation_files(root, "instances_*.json"), colours).annotations(wanted)
