"""Pictures in two splits are found by content and by COCO's id, and names alone prove nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vlp_fast.data.audit import Audit

Look = Callable[..., Audit]
Change = Callable[[str, Callable[[Any], object]], None]


def pictures(world: Path, split: str) -> list[Path]:
    document = json.loads((world / "dataset_coco.json").read_text())
    names = [image["filename"] for image in document["images"] if image["split"] == split]
    return [world / "images" / name for name in names]


def twin(of: Path, among: list[Path]) -> Path:
    """Another picture of the same size."""
    size = Image.open(of).size
    return next(path for path in among if path != of and Image.open(path).size == size)


def test_a_training_picture_that_is_held_out(world: Path, look: Look) -> None:
    held_out = pictures(world, "val")[0]
    copied = twin(held_out, pictures(world, "train"))
    shutil.copy(copied, held_out)
    found = look(world)
    same = "pictures are in {} too (same content)"
    assert {(f.level, f.count, f.what, f.where, f.examples) for f in found.findings} == {
        ("leaked", 1, same.format(train), held, (held_out.name,))
        for held, trains in (
            ("world val", ("world train",)),
            ("VQA val", ("world train", "VQA train")),
            ("SNLI-VE dev", ("world train", "SNLI-VE train")),
        )
        for train in trains
    }
    assert found.is_clean  # nothing is refused or replaced


def test_a_picture_twice_in_a_split(world: Path, look: Look) -> None:
    train = pictures(world, "train")
    other = twin(train[0], train)
    shutil.copy(train[0], other)
    found = look(world)
    what = "pictures are there twice in this split (same content)"
    assert {(f.level, f.count, f.what, f.where) for f in found.findings} == {
        ("told", 1, what, f"{task} train") for task in ("world", "VQA", "SNLI-VE")
    }
    first, second = sorted((train[0].name, other.name))
    assert found.findings[0].examples == (f"{second} is {first}",)


@pytest.fixture
def genome(world: Path, tmp_path: Path) -> Path:
    """Visual Genome of the same pictures in other files."""
    root = tmp_path / "genome"
    (root / "images").mkdir(parents=True)
    for name in ("image_data", "objects", "attributes", "region_descriptions"):
        shutil.copy(world / f"{name}.json", root)
    for name in ("objects_vocab.txt", "attributes_vocab.txt"):
        shutil.copy(world / name, root)
    for path in world.glob("images/*.png"):
        image = Image.open(path).convert("RGB")
        image.putpixel((0, 0), (1, 2, 3))
        image.save(root / "images" / path.name)
    return root


def ids_of(root: Path, look: Look) -> dict[str, set[str]]:
    splits = look(root).splits
    return {s.name: {r.path.name for r in s.records} for s in splits if s.task == "captions"}


def test_visual_genome_says_which_of_cocos_it_is(world: Path, genome: Path, look: Look) -> None:
    (world / "world.json").unlink()  # Karpathy's splits, with COCO's ids
    coco, vg = ids_of(world, look), ids_of(genome, look)
    found = {(f.where, f.what): f for f in look(world, genome).findings if f.level == "leaked"}
    what = "pictures are in {} too (same id in COCO)"
    trains = {"coco": "world: coco train (Karpathy)", "vg": "genome: Visual Genome train"}
    for split in ("val", "test"):
        finding = found.pop((f"world: coco {split} (Karpathy)", what.format(trains["vg"])))
        assert set(finding.examples) == coco[split] & vg["train"] != set()
        finding = found.pop((f"genome: Visual Genome {split}", what.format(trains["coco"])), None)
        shared = vg.get(split, set()) & coco["train"]
        assert set(finding.examples if finding else ()) == shared
    assert not [key for key in found if "captions" in key[0]]


def test_a_name_alone_is_only_told(world: Path, genome: Path, look: Look) -> None:
    (world / "world.json").unlink()
    path = genome / "image_data.json"
    entries = json.loads(path.read_text())
    for entry in entries:
        entry["coco_id"] = None
    path.write_text(json.dumps(entries))
    findings = look(world, genome).findings
    assert not [f for f in findings if f.level == "leaked"]
    named = [f for f in findings if "have the name of another one in" in f.what]
    assert {f.level for f in named} == {"told"}
    assert any(f.where == "world: coco val (Karpathy)" for f in named)


def test_copies_in_another_folder(world: Path, tmp_path: Path, look: Look) -> None:
    """As Flickr30k's pictures would be, under names of their own."""
    other = tmp_path / "flickr"
    entries = []
    for place, path in enumerate(pictures(world, "val") + pictures(world, "train")[:8]):
        name = f"picture{place}.png"
        (other / "images").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other / "images" / name)
        split = "train" if place < 6 else "val"
        sentences = [{"raw": "something is there"}]
        entries.append({"filename": name, "split": split, "imgid": place, "sentences": sentences})
    (other / "dataset_flickr30k.json").write_text(json.dumps({"images": entries}))
    leaked = {
        (f.where, f.what): f.count for f in look(world, other).findings if f.level == "leaked"
    }
    same = "pictures are in {} too (same content)"
    train, other_train = "world: world train", "flickr: flickr30k train (Karpathy)"
    assert leaked[("world: world val", same.format(other_train))] == 3
    assert leaked[("flickr: flickr30k val (Karpathy)", same.format(train))] == 5
