"""Annotation files of a world: COCO, Karpathy's splits of it, and Visual Genome, as published.

One object has one id in all of them, one caption likewise. Ids and splits of a picture depend on
its index alone, so that they do not change with the number of pictures.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vlp_fast.data.world.language import CAPTIONS, region_description
from vlp_fast.data.world.scene import COLOURS, MAX_OBJECTS, SIZES, Scene, SceneObject, area
from vlp_fast.data.world.shapes import KINDS, TEXTURES

SPLITS = ("train", "val", "test")
T = TypeVar("T")
_Json = dict[str, Any]


def write_coco(folder: Path, scenes: Sequence[Scene], texts: Sequence[Sequence[str]]) -> None:
    """Writes `annotations/captions_world.json` and `annotations/instances_world.json`."""
    images = [
        {
            "id": scene.image_id,
            "file_name": file_name(scene),
            "width": scene.width,
            "height": scene.height,
            "license": 1,
        }
        for scene in scenes
    ]
    head = {
        "info": {"description": "drawn world", "version": "1"},
        "licenses": [{"id": 1, "name": "generated", "url": ""}],
        "images": images,
    }
    sentences = [
        {"id": _caption_id(scene, i), "image_id": scene.image_id, "caption": text}
        for scene, several in zip(scenes, texts, strict=True)
        for i, text in enumerate(several)
    ]
    boxes = [
        {
            "id": object_id,
            "image_id": scene.image_id,
            "category_id": 1 + KINDS.index(item.kind),
            "bbox": [item.box[0], item.box[1], item.width, item.height],
            "area": area(item),
            "iscrowd": 0,
        }
        for scene in scenes
        for object_id, item in _numbered(scene)
    ]
    categories = [
        {"supercategory": "shape", "id": 1 + i, "name": kind} for i, kind in enumerate(KINDS)
    ]
    dump(folder / "annotations" / "captions_world.json", {**head, "annotations": sentences})
    dump(
        folder / "annotations" / "instances_world.json",
        {**head, "annotations": boxes, "categories": categories},
    )


def write_karpathy(
    folder: Path,
    scenes: Sequence[Scene],
    texts: Sequence[Sequence[str]],
    split: Callable[[int], str] | None = None,
) -> None:
    """Writes `dataset_coco.json`: the captions with tokens and splits.

    Args:
        folder: of the world.
        scenes: of all pictures.
        texts: captions of each.
        split: of a picture by its place; `split_of` if None.
    """
    entries = []
    for index, (scene, several) in enumerate(zip(scenes, texts, strict=True)):
        sentences = [
            {
                "tokens": text.split(),
                "raw": text,
                "imgid": index,
                "sentid": _caption_id(scene, i),
            }
            for i, text in enumerate(several)
        ]
        entries.append(
            {
                "filepath": "images",
                "filename": file_name(scene),
                "cocoid": scene.image_id,
                "imgid": index,
                "split": (split or split_of)(index),
                "sentids": [sentence["sentid"] for sentence in sentences],
                "sentences": sentences,
            }
        )
    dump(folder / "dataset_coco.json", {"images": entries, "dataset": "coco"})


def write_visual_genome(folder: Path, scenes: Sequence[Scene]) -> None:
    """Writes the four files of Visual Genome and the two vocabularies."""
    dump(folder / "image_data.json", [_vg_image(scene) for scene in scenes])
    objects, attributes, regions = [], [], []
    for scene in scenes:
        named = [(item, _vg_object(object_id, item)) for object_id, item in _numbered(scene)]
        url = _vg_image(scene)["url"]
        objects.append(
            {
                "image_id": scene.image_id,
                "objects": [{**entry, "merged_object_ids": []} for _, entry in named],
                "image_url": url,
            }
        )
        described = [
            {**entry, "attributes": [item.colour, item.size, item.texture]} for item, entry in named
        ]
        attributes.append({"image_id": scene.image_id, "attributes": described})
        regions.append(
            {
                "regions": [_vg_region(scene, item, entry) for item, entry in named],
                "id": scene.image_id,
            }
        )
    dump(folder / "objects.json", objects)
    dump(folder / "attributes.json", attributes)
    dump(folder / "region_descriptions.json", regions)
    _write_words(folder / "objects_vocab.txt", KINDS)
    _write_words(folder / "attributes_vocab.txt", (*COLOURS, *SIZES, *TEXTURES))


def file_name(scene: Scene) -> str:
    """Returns the name of a picture inside `images`."""
    return f"{scene.image_id:012d}.png"


def split_of(index: int) -> str:
    """Returns "train", "val" or "test" for a picture; all three occur from 8 pictures on."""
    return {3: "val", 7: "test"}.get(index % 20, "train")


def of_split(items: Sequence[T], split: str) -> list[T]:
    """Returns those of the pictures' items that are of a split, in their order."""
    return [item for index, item in enumerate(items) if split_of(index) == split]


def dump(path: Path, content: object) -> None:
    """Writes json that is on the disk when this returns."""
    _write(path, json.dumps(content))


def dump_lines(path: Path, entries: Iterable[object]) -> None:
    """Writes one line of json for each entry; they are on the disk when this returns."""
    _write(path, "".join(f"{json.dumps(entry)}\n" for entry in entries))


def _vg_image(scene: Scene) -> _Json:
    return {
        "width": scene.width,
        "url": f"images/{file_name(scene)}",
        "height": scene.height,
        "image_id": scene.image_id,
        "coco_id": scene.image_id,
        "flickr_id": None,
    }


def _vg_object(object_id: int, item: SceneObject) -> _Json:
    return {
        "synsets": [f"{item.kind}.n.01"],
        "h": item.height,
        "object_id": object_id,
        "names": [item.kind],
        "w": item.width,
        "y": item.box[1],
        "x": item.box[0],
    }


def _vg_region(scene: Scene, item: SceneObject, entry: _Json) -> _Json:
    return {
        "region_id": entry["object_id"],
        "width": entry["w"],
        "height": entry["h"],
        "image_id": scene.image_id,
        "phrase": region_description(item),
        "y": entry["y"],
        "x": entry["x"],
    }


def _numbered(scene: Scene) -> Iterator[tuple[int, SceneObject]]:
    """The objects with their ids, which leave room for `MAX_OBJECTS` in every picture."""
    first = (scene.image_id - 1) * MAX_OBJECTS + 1
    yield from enumerate(scene.objects, start=first)


def _caption_id(scene: Scene, position: int) -> int:
    return (scene.image_id - 1) * CAPTIONS + position + 1


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _write_words(path: Path, words: Sequence[str]) -> None:
    path.write_text("".join(f"{word}\n" for word in words), encoding="utf-8", newline="\n")
