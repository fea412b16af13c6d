"""All images of a split of captions: those that are captioned, and those that a reader leaves out.

What is handed in has to have all of them, and a reader drops those without a caption or a file.
"""

from __future__ import annotations

from pathlib import Path

from vlp_fast.data.config import DataConfig
from vlp_fast.data.given_paths import check_roots, shown_roots
from vlp_fast.data.printable import printable
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources import find_layout, load_dataset
from vlp_fast.data.sources.coco import AbsentSplit, caption_images, captions_files
from vlp_fast.data.sources.coco_boxes import coco_image_ids, listing
from vlp_fast.data.sources.karpathy import karpathy_images
from vlp_fast.errors import InputError


def captioned_root(data: DataConfig) -> Path:
    """The folder whose held-out pictures get captions that are handed in.

    Raises:
        InputError: if a folder is not there, or there are several.
    """
    roots = check_roots(data)
    if len(roots) > 1:
        raise InputError(
            f"--data.root: received {len(roots)} data sets ({shown_roots(roots)}), and captions of "
            "one are handed in at a time; give its folder to a run that learns from it alone"
        )
    return roots[0]


def captioned_images(data: DataConfig) -> list[int]:
    """Ids of all images that the files of the held-out split list.

    Raises:
        InputError: if a file is missing or damaged, or the data are none that people score captions
            of.
    """
    root, split = captioned_root(data), data.held_out_split
    layout = find_layout(root, layout=data.layout, karpathy_file=data.karpathy_file)
    if layout == "visual_genome":
        raise InputError(
            f"{printable(root)}: its layout is {layout}, whose region descriptions nobody scores "
            "captions by; give COCO's folder with --data.root, or another --data.layout"
        )
    if layout == "coco":
        listed = is_listed(root, split)
        return coco_image_ids(root, split) if listed else caption_images(root, split)
    return karpathy_images(root, split, data.karpathy_file)


def is_listed(root: Path, split: str) -> bool:
    """Whether COCO's files list the images of a split and have no captions of it: test2014."""
    if captions_files(root, split):
        return False
    try:
        return listing(root, split).stem.startswith("image_info_")
    except AbsentSplit:
        return False


def listed_pictures(data: DataConfig) -> Dataset | None:
    """The held-out pictures of a split that is captioned for the server alone; None of others.

    Raises:
        InputError: for whatever is wrong with its files.
    """
    root, split = captioned_root(data), data.held_out_split
    layout = find_layout(root, layout=data.layout, karpathy_file=data.karpathy_file)
    if layout != "coco" or not is_listed(root, split):
        return None
    return load_dataset(
        root, split, layout="coco", missing_images=data.missing_images, needs_captions=False
    )
