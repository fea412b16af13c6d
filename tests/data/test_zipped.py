"""Annotation files that are still in their zip files."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vlp_fast.data.fingerprint import fingerprint
from vlp_fast.data.sources import load_dataset
from vlp_fast.data.sources.vqa import load_vqa
from vlp_fast.data.sources.zipped import opened_member
from vlp_fast.errors import InputError


def zipped(path: Path, *files: Path, inside: str = "") -> None:
    """Move files into a zip file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, inside + file.name)
            file.unlink()
        archive.writestr(f"__MACOSX/{inside}._{files[0].name}", b"\0")


@pytest.mark.parametrize("where", ["", "annotations"])
def test_cocos_annotations_are_read_from_their_zip_file(coco_folder: Path, where: str) -> None:
    before = load_dataset(coco_folder, "train")
    files = sorted((coco_folder / "annotations").glob("*.json"))
    zipped(coco_folder / where / "annotations_trainval2017.zip", *files, inside="annotations/")
    after = load_dataset(coco_folder, "train")
    assert after.num_boxes and fingerprint(after) == fingerprint(before)


def test_what_is_unpacked_comes_first(coco_folder: Path) -> None:
    name = coco_folder / "annotations/captions_train2017.json"
    content = name.read_text()
    zipped(coco_folder / "annotations_trainval2017.zip", name)
    changed = json.loads(content)
    changed["annotations"] = changed["annotations"][:1]
    name.write_text(json.dumps(changed))
    assert len(load_dataset(coco_folder, "train").records) == 1


def test_karpathys_archive_is_told_by_its_pictures(small_world: Path, copied_world: Path) -> None:
    (copied_world / "world.json").unlink()
    path = copied_world / "dataset_coco.json"
    other = copied_world / "dataset_flickr8k.json"
    document = json.loads(path.read_text())
    for image in document["images"]:
        image["filename"] = f"other_{image['filename']}"
    other.write_text(json.dumps(document))
    before = load_dataset(small_world, "train", layout="karpathy")
    zipped(copied_world / "caption_datasets.zip", path, other)
    after = load_dataset(copied_world, "train")
    assert (after.name, fingerprint(after)) == (before.name, fingerprint(before))


def test_genome_and_vqa_are_read_from_theirs(copied_world: Path) -> None:
    load: list[Callable[[], object]] = [
        lambda: fingerprint(load_dataset(copied_world, "train", layout="visual_genome")),
        lambda: fingerprint(load_vqa(copied_world, "val", missing_images="error")),
    ]
    before = [one() for one in load]
    for name in ("image_data", "objects", "region_descriptions", "attributes"):
        zipped(copied_world / f"{name}.json.zip", copied_world / f"{name}.json")
    for kind, name in (("Questions", "OpenEnded_mscoco_val2014_questions"), ("Annotations", "")):
        name = name or "mscoco_val2014_annotations"
        zipped(copied_world / f"v2_{kind}_Val_mscoco.zip", copied_world / f"v2_{name}.json")
    assert [one() for one in load] == before


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "encrypted"])
def test_a_damaged_zip_file_is_one_line(coco_folder: Path, damage: str) -> None:
    path = coco_folder / "annotations_trainval2017.zip"
    zipped(path, *sorted((coco_folder / "annotations").glob("*.json")))
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[80] ^= 255
    elif damage == "text":
        content = bytearray(b"<html>gone</html>")
    else:
        place = content.index(b"PK\1\2")
        content[place + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"annotations_trainval2017\.zip: .*download it again"
    ) as e:
        load_dataset(coco_folder, "train")
    assert "\n" not in str(e.value)


def test_large_zip_files_and_what_they_would_become_are_passed_over(
    coco_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = coco_folder / "annotations_trainval2017.zip"
    zipped(path, *sorted((coco_folder / "annotations").glob("*.json")))
    with monkeypatch.context() as patch:
        patch.setattr("vlp_fast.data.sources.zipped.LARGEST_FILE", 10)
        with pytest.raises(InputError, match="would have"):
            load_dataset(coco_folder, "train")
    monkeypatch.setattr("vlp_fast.data.sources.zipped.LARGEST_ZIP", 10)
    with pytest.raises(InputError, match="no known layout"):
        load_dataset(coco_folder, "train")


def test_a_mistake_of_whoever_reads_is_not_blamed_on_the_zip_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.json", "{}")
    with (
        pytest.raises(ValueError, match="mine"),
        opened_member(tmp_path / "a.zip", "a.json") as file,
    ):
        assert file.read() == b"{}"
        raise ValueError("mine")


def test_damage_that_shows_while_a_file_is_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.json", bytes(100_000))
    content = bytearray(path.read_bytes())
    content[70_000] = 1  # its checksum is wrong now
    path.write_bytes(content)
    with (
        pytest.raises(InputError, match=r"a\.zip: a\.json cannot be unpacked"),
        opened_member(path, "a.json") as file,
    ):
        file.read()
