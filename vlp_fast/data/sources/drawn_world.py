"""The drawn world: Karpathy's splits and COCO's boxes, with colours as attributes and the scenes.

The scenes know what is true of a picture, so foreign captions that happen to be true are seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vlp_fast.data.records import Dataset
from vlp_fast.data.sources.karpathy import load_karpathy
from vlp_fast.data.sources.visual_genome import NameList, attributes_by_object
from vlp_fast.data.world.language import is_true
from vlp_fast.data.world.layouts import read_scenes
from vlp_fast.data.world.scene import COLOURS, Scene
from vlp_fast.errors import InputError


@dataclass(frozen=True)
class SceneTruth:
    """Is a text true of record `index`? (A class, because evaluation asks it for the scenes.)

    Attributes:
        scenes: of the records, in their order.
    """

    scenes: tuple[Scene, ...]

    def __call__(self, index: int, text: str) -> bool:
        return is_true(self.scenes[index], text)

    def selected(self, indices: Sequence[int]) -> SceneTruth:
        """The truth of some of the records."""
        return SceneTruth(tuple(self.scenes[index] for index in indices))


def load_drawn_world(root: Path, splits: Sequence[str], *, missing_images: str) -> list[Dataset]:
    """Read splits of a folder that `vlp-fast data make-world` made.

    Args:
        root: holds `world.json` and everything else.
        splits: "train", "val" or "test" each.
        missing_images: "error" or "drop".

    Raises:
        InputError: if a file is missing or damaged.
    """
    scenes = read_scenes(root)
    datasets = load_karpathy(
        root,
        splits,
        missing_images=missing_images,
        attributes=colours_by_object(root),
        attribute_names=COLOURS,
    )
    return [
        _with_truth(dataset, split, scenes, root / "world.json")
        for dataset, split in zip(datasets, splits, strict=True)
    ]


def colours_by_object(root: Path) -> dict[int, int]:
    """Return the colour of each annotation id, as a place in `COLOURS`."""
    colours = NameList(names=COLOURS, index={name: i for i, name in enumerate(COLOURS)})
    return attributes_by_object(root / "attributes.json", colours)


def _with_truth(dataset: Dataset, split: str, scenes: Mapping[int, Scene], path: Path) -> Dataset:
    unknown = [image_id for image_id in dataset.table.image_ids if image_id not in scenes]
    if unknown:
        raise InputError(
            f"{path}: has no scene of image {unknown[0]}; make the world again with "
            "`vlp-fast data make-world`"
        )
    return replace(
        dataset,
        name=f"world {split}",
        collection="world",
        records=tuple(replace(record, coco_id=None) for record in dataset.records),
        describes=SceneTruth(tuple(scenes[image_id] for image_id in dataset.table.image_ids)),
    )
