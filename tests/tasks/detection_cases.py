"""Small folders of COCO's layout, and a model in name only that finds what is annotated."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sample_tasks import Cpu
from torch import Tensor

from vlp_fast.models.e2e_vlp import Detections
from vlp_fast.tasks.detection.batch import DetectionInputs
from vlp_fast.tasks.detection.detection import Detection
from vlp_fast.tasks.held_out import HeldOut

Build = Callable[..., Detection]
Folder = Callable[..., Path]
USUAL = {"size": (96, 64), "boxes": [(20, 10, 30, 20)], "captions": ["a thing", "one thing"]}
SURE = 8.0
"""Logit of what it says."""
Change = Callable[[str, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def finds(
    task: Detection,
    monkeypatch: pytest.MonkeyPatch,
    change: Change = lambda text, boxes, labels, attributes: (boxes, labels, attributes),
) -> None:
    """Let a task find the boxes that its pictures have, in the frame that the model sees.

    Args:
        task: whose model is not asked.
        monkeypatch: of the test.
        change: of each picture, what is found in place of the boxes (cx, cy, w, h), labels and
            attributes, for each text.
    """

    def detect(_: Any, inputs: DetectionInputs) -> Detections:
        queries = task.model.query_positions.num_embeddings
        classes, kinds = len(task.train.class_names), len(task.train.attribute_names)
        shape = (len(task.texts), len(inputs.image_ids), queries)
        logits = torch.zeros(*shape, classes + 1)
        logits[..., -1] = 2 * SURE  # no object, which the read-out passes over
        boxes = torch.full((*shape, 4), 0.5)
        named = torch.zeros(*shape, kinds + 1)
        for column, text in enumerate(task.texts):
            start = 0
            for picture, count in enumerate(inputs.targets.counts):
                own = slice(start, start + count)
                start += count
                found = change(
                    text,
                    inputs.targets.boxes[own],
                    inputs.targets.labels[own],
                    inputs.targets.attributes[own],
                )
                for query, (box, label, kind) in enumerate(zip(*found, strict=True)):
                    boxes[column, picture, query] = box
                    logits[column, picture, query, label] = SURE - 0.1 * query
                    logits[column, picture, query, -1] = 0
                    named[column, picture, query, kind] = SURE
        return Detections(
            logits=logits.flatten(0, 1)[None],
            boxes=boxes.flatten(0, 1)[None],
            attribute_logits=named.flatten(0, 1)[None] if kinds else None,
        )

    monkeypatch.setattr(task, "detect", detect)


def write_split(root: Path, part: str, images: list[dict[str, Any]], *, first: int) -> None:
    """Images with numbers from `first`, their boxes and captions."""
    listed, captions, objects = [], [], []
    for number, image in enumerate(images, first):
        width, height = image["size"]
        name = f"{number:012d}.png"
        listed.append({"id": number, "file_name": name, "width": width, "height": height})
        exif = Image.Exif()
        exif[0x0112] = image.get("orientation", 1)
        path = root / part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height), (9, 20 * number % 256, 90)).save(path, exif=exif)
        for text in image["captions"]:
            captions.append({"id": len(captions), "image_id": number, "caption": text})
        for box in image["boxes"]:
            objects.append(
                {
                    "id": 10 * number + len(objects),
                    "image_id": number,
                    "category_id": image.get("category", 7),
                    "bbox": list(box),
                    "area": image.get("area", box[2] * box[3]),
                    "iscrowd": int(image.get("crowd", False)),
                }
            )
    categories = [{"id": 90, "name": "heap"}, {"id": 7, "name": "thing"}]
    for kind, entries in (("captions", captions), ("instances", objects)):
        path = root / "annotations" / f"{kind}_{part}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps({"images": listed, "annotations": entries, "categories": categories})
        )


def held_out_of(task: Detection, batch_size: int = 4) -> HeldOut:
    """All held-out pictures."""
    return HeldOut(task=task, runtime=Cpu(), batch_size=batch_size)


def write_genome(root: Path) -> Path:
    """Three images of Visual Genome's layout, a brown dog and a cat of no attribute in each."""
    boxes = {"dog": (4, 6, 30, 20), "cat": (50, 30, 20, 20)}
    listed, objects, attributes, regions = [], [], [], []
    for image in (1, 2, 3):
        path = root / "VG_100K" / f"{image}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (96, 64), (80 * image % 256, 20, 9)).save(path)
        listed.append(
            {"image_id": image, "url": f"h/VG_100K/{image}.png", "width": 96, "height": 64}
        )
        things = [
            {"object_id": 10 * image + n, "names": [name], **dict(zip("xywh", box, strict=True))}
            for n, (name, box) in enumerate(boxes.items())
        ]
        objects.append({"image_id": image, "objects": things})
        named = [{"object_id": 10 * image, "attributes": ["brown"]}]
        attributes.append({"image_id": image, "attributes": named})
        region = {"region_id": image, "image_id": image, "phrase": f"a dog of image {image}"}
        regions.append({"regions": [region]})
    documents = {"image_data": listed, "objects": objects, "attributes": attributes}
    for name, document in (documents | {"region_descriptions": regions}).items():
        (root / f"{name}.json").write_text(json.dumps(document))
    (root / "objects_vocab.txt").write_text("cat\ndog\n")
    (root / "attributes_vocab.txt").write_text("white\nbrown\n")
    return root
