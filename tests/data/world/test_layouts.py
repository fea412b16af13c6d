"""The folder: layouts that agree with each other, same bytes for a seed, never half written."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vlp_fast.data.sources import load_dataset
from vlp_fast.data.world import annotations, is_true, layouts, make_world, read_scenes
from vlp_fast.data.world.bounds import BOUNDS
from vlp_fast.data.world.draw import draw
from vlp_fast.data.world.scene import COLOURS
from vlp_fast.data.world.shapes import KINDS
from vlp_fast.errors import InputError

IMAGES = 40


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("layouts") / "world"
    make_world(root, images=IMAGES, seed=5)
    return root


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def hashes(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes(world: Path, tmp_path: Path) -> None:
    make_world(tmp_path / "again", images=IMAGES, seed=5)
    make_world(tmp_path / "other", images=IMAGES, seed=6)
    assert hashes(tmp_path / "again") == hashes(world)
    assert hashes(tmp_path / "other") != hashes(world)


@pytest.mark.parametrize(
    ("bounds", "digest"),
    [
        ("world", "a51fd56f4708444812621ad3ad0067905d889b6871b7775c036c0bbce15aaea0"),
        ("small", "a7f06fb7c27eed3c0a4626622857a185f4635a0e293feb7c934c5f1c937340e7"),
    ],
)
def test_a_world_stays_what_it_was(bounds: str, digest: str, tmp_path: Path) -> None:
    """Of scenes, captions and boxes, which results that are written down were had with."""
    make_world(tmp_path / "world", images=40, seed=5, bounds=BOUNDS[bounds])
    found = hashlib.sha256()
    for name in (
        *("annotations/captions_world.json", "annotations/instances_world.json"),
        *("attributes.json", "attributes_vocab.txt", "dataset_coco.json", "image_data.json"),
        *("objects.json", "objects_vocab.txt", "region_descriptions.json", "world.json"),
    ):
        found.update((tmp_path / "world" / name).read_bytes())
    assert found.hexdigest() == digest


def test_a_smaller_world_is_the_beginning_of_a_larger(world: Path, tmp_path: Path) -> None:
    make_world(tmp_path / "small", images=9, seed=5)
    of_small, of_large = hashes(tmp_path / "small"), hashes(world)
    assert all(of_large[name] == of_small[name] for name in of_small if name.endswith(".png"))
    first = load(tmp_path / "small" / "dataset_coco.json")["images"]
    assert first == load(world / "dataset_coco.json")["images"][:9]


def test_pictures_are_those_of_the_scenes(world: Path) -> None:
    scenes = read_scenes(world)
    assert sorted(scenes) == list(range(1, IMAGES + 1))
    for image_id, scene in scenes.items():
        with Image.open(world / "images" / f"{image_id:012d}.png") as picture:
            assert picture.tobytes() == draw(scene).tobytes()


def test_coco_files(world: Path) -> None:
    scenes = read_scenes(world)
    instances = load(world / "annotations" / "instances_world.json")
    names = {entry["id"]: entry["name"] for entry in instances["categories"]}
    assert names == dict(enumerate(KINDS, start=1))
    found: dict[int, list[tuple[str, tuple[int, ...]]]] = {image_id: [] for image_id in scenes}
    for entry in instances["annotations"]:
        x, y, width, height = entry["bbox"]
        found[entry["image_id"]].append(
            (names[entry["category_id"]], (x, y, x + width, y + height))
        )
        assert 0 < entry["area"] <= width * height and entry["iscrowd"] == 0
    for image_id, scene in scenes.items():
        assert found[image_id] == [(item.kind, item.box) for item in scene.objects]
    assert len({entry["id"] for entry in instances["annotations"]}) == sum(map(len, found.values()))
    for entry in instances["images"]:
        scene = scenes[entry["id"]]
        assert (entry["width"], entry["height"]) == (scene.width, scene.height)
        assert (world / "images" / entry["file_name"]).is_file()


def test_captions_agree_in_both_files_and_are_true(world: Path) -> None:
    scenes = read_scenes(world)
    coco = load(world / "annotations" / "captions_world.json")["annotations"]
    karpathy = load(world / "dataset_coco.json")["images"]
    assert all(is_true(scenes[entry["image_id"]], entry["caption"]) for entry in coco)
    by_id = {entry["id"]: (entry["image_id"], entry["caption"]) for entry in coco}
    assert len(by_id) == len(coco) == 6 * IMAGES
    for index, entry in enumerate(karpathy):
        assert entry["imgid"] == index and entry["filepath"] == "images"
        assert entry["sentids"] == [sentence["sentid"] for sentence in entry["sentences"]]
        for sentence in entry["sentences"]:
            assert by_id[sentence["sentid"]] == (entry["cocoid"], sentence["raw"])
            assert sentence["tokens"] == sentence["raw"].split() and sentence["imgid"] == index
    splits = [entry["split"] for entry in karpathy]
    assert {name: splits.count(name) for name in set(splits)} == {
        "train": IMAGES * 18 // 20,
        "val": IMAGES // 20,
        "test": IMAGES // 20,
    }
    assert {annotations.split_of(index) for index in range(8)} == {"train", "val", "test"}


def test_visual_genome_files(world: Path) -> None:
    scenes = read_scenes(world)
    objects, attributes = load(world / "objects.json"), load(world / "attributes.json")
    regions, images = load(world / "region_descriptions.json"), load(world / "image_data.json")
    instances = load(world / "annotations" / "instances_world.json")["annotations"]
    ids = {entry["id"]: entry["image_id"] for entry in instances}
    for scene, named, described, spoken, image in zip(
        scenes.values(), objects, attributes, regions, images, strict=True
    ):
        assert named["image_id"] == described["image_id"] == spoken["id"] == image["image_id"]
        assert Path(image["url"]).name == f"{scene.image_id:012d}.png"
        for item, first, second, region in zip(
            scene.objects,
            named["objects"],
            described["attributes"],
            spoken["regions"],
            strict=True,
        ):
            assert first["object_id"] == second["object_id"]
            assert ids[first["object_id"]] == scene.image_id
            assert first["names"] == second["names"] == [item.kind]
            assert second["attributes"] == [item.colour, item.size, item.texture]
            box = (first["x"], first["y"], first["x"] + first["w"], first["y"] + first["h"])
            assert box == item.box
            assert is_true(scene, region["phrase"])
            assert (region["x"], region["width"]) == (item.box[0], item.width)
    assert (world / "objects_vocab.txt").read_text().split() == list(KINDS)
    assert (world / "attributes_vocab.txt").read_text().split()[:8] == list(COLOURS)


def test_an_older_world_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "world"
    target.mkdir()
    make_world(target, images=9, seed=1)  # an empty folder is fine
    make_world(target, images=8, seed=1)
    assert len(read_scenes(target)) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


@pytest.mark.parametrize("stray", ["photo.jpg", "world.json"])
def test_other_folders_are_never_touched(stray: str, tmp_path: Path) -> None:
    (tmp_path / stray).write_text("{}")
    with pytest.raises(InputError, match="something other than a world"):
        make_world(tmp_path, images=8, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == [stray]


def test_a_world_with_a_foreign_file_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "world"
    make_world(target, images=8, seed=0)
    (target / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="something other than a world"):
        make_world(target, images=8, seed=0)
    assert (target / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "stray",
    [
        *("images/photo.jpg", "images/1.png", "images/000000000001.png.bak"),
        *("images/000000000001.jpg", "annotations/mine.json", "annotations/000000000001.png"),
        *("images/holiday/000000000001.png", "world.json.d/x", "000000000001.png"),
        *("nlvr2/mine.json", "nlvr2/dev/dev-0-0-img2.png", "nlvr2/images/train/100/x.png"),
        *("dev.json", "snli_ve_mine.jsonl", "v2_mscoco_test2015_annotations.json"),
    ],
)
def test_foreign_files_inside_a_world_are_kept(stray: str, tmp_path: Path) -> None:
    target = tmp_path / "world"
    make_world(target, images=8, seed=0)
    (target / stray).parent.mkdir(exist_ok=True, parents=True)
    (target / stray).write_text("mine")
    before = hashes(target)
    with pytest.raises(InputError, match=r"something other than a world \(.*name a new or empty"):
        make_world(target, images=8, seed=1)
    assert hashes(target) == before


@pytest.mark.parametrize("place", ["images/000000000001.png", "annotations"])
def test_links_inside_a_world_are_kept(place: str, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "world", tmp_path / "elsewhere"
    make_world(target, images=8, seed=0)
    (target / place).rename(elsewhere)
    (target / place).symlink_to(elsewhere)
    with pytest.raises(InputError, match=f"something other than a world .{place}.;"):
        make_world(target, images=8, seed=1)
    assert (target / place).is_symlink()


def rename_but(*failing: str) -> Callable[[Path, Path], Path]:
    """`Path.rename` that fails for some names of the folder to be renamed."""
    rename = Path.rename

    def attempt(path: Path, target: Path) -> Path:
        if path.name in failing:
            raise OSError("Device or resource busy")
        return rename(path, target)

    return attempt


def test_the_old_world_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "world"
    make_world(target, images=8, seed=0)
    before = hashes(target)
    monkeypatch.setattr(Path, "rename", rename_but("new"))
    with pytest.raises(InputError, match="Device or resource busy"):
        make_world(target, images=9, seed=0)
    assert hashes(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_an_old_world_that_could_not_come_back_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits beside its place, also after a kill between two renames, for the next attempt."""
    target = tmp_path / "world"
    make_world(target, images=8, seed=0)
    before = hashes(target)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_but("new", "old"))
        with pytest.raises(InputError, match="Device or resource busy"):
            make_world(target, images=9, seed=0)
    assert hashes(tmp_path / ".world.make-world.partial" / "old") == before
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_but("new"))
        with pytest.raises(InputError, match="Device or resource busy"):
            make_world(target, images=9, seed=0)
    assert hashes(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_a_failure_leaves_the_old_world_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "world"
    make_world(target, images=8, seed=0)
    before = hashes(target)

    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(layouts, "write_karpathy", fail)
    with pytest.raises(InputError, match="No space left on device"):
        make_world(target, images=9, seed=0)
    assert hashes(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_the_smallest_world_has_every_split(tmp_path: Path) -> None:
    make_world(tmp_path / "world", images=8, seed=0)
    for split in ("train", "val", "test"):
        assert len(load_dataset(tmp_path / "world", split)) == (6 if split == "train" else 1)
    for name in ("nlvr2/dev.json", "nlvr2/test1.json", "snli_ve_dev.jsonl"):  # balanced by none
        assert (tmp_path / "world" / name).read_text() == ""


def test_sixty_pictures_are_enough_for_questions_claims_and_hypotheses(small_world: Path) -> None:
    """Three of them are for validation, three for testing."""
    for name in ("val2014", "test2015", "test-dev2015"):
        path = small_world / f"v2_OpenEnded_mscoco_{name}_questions.json"
        assert len(load(path)["questions"]) >= 5
    for name in ("nlvr2/dev.json", "nlvr2/test1.json", "snli_ve_dev.jsonl", "snli_ve_test.jsonl"):
        assert len((small_world / name).read_text().splitlines()) >= 6


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """The killed one cannot clean up; the next that writes the same world does."""
    target = tmp_path / "world"
    program = (
        "import os, signal, pathlib; from vlp_fast.data.world import make_world; "
        f"make_world(pathlib.Path({str(target)!r}), images=8, seed=0, "
        "progress=lambda _: os.kill(os.getpid(), signal.SIGKILL))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert [path.name for path in tmp_path.iterdir()] == [".world.make-world.partial"]
    make_world(target, images=8, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["world"]
    assert len(list((target / "images").iterdir())) == 8


def test_impossible_requests(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        make_world(file, images=8, seed=0)
    with pytest.raises(InputError, match="cannot be written"):
        make_world(file / "world", images=8, seed=0)
    for images in (0, 7):
        with pytest.raises(InputError, match=f"received {images} images; ask for at least 8"):
            make_world(tmp_path / "world", images=images, seed=0)
    with pytest.raises(InputError, match="received seed -1"):
        make_world(tmp_path / "world", images=8, seed=-1)
    assert not (tmp_path / "world").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ('{"format": "vlp_fast.world", "ver', "cannot be read"),
        ("[" * 10**5, "cannot be read"),
        ("[" + "7" * 5000 + "]", "cannot be read"),
        ("[]", "not a world"),
        ('{"format": "vlp_fast.world", "version": 99}', "version 99, expected 1"),
        ('{"format": "vlp_fast.world", "version": "a\\n"}', r"version 'a\\n', expected 1"),
        ('{"format": "vlp_fast.world", "version": 1}', "a scene is damaged"),
        ('{"format": "vlp_fast.world", "version": 1, "scenes": [{}]}', "a scene is damaged"),
    ],
)
def test_damaged_worlds_are_named(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "world.json").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_scenes(tmp_path)
    assert "world.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def nested(depth: int) -> list[Any]:
    content: list[Any] = []
    for _ in range(depth):
        content = [content]
    return content


@pytest.mark.parametrize(
    ("place", "content"),
    [
        (("objects", 0, "box"), [0, 0, 10**6, 10**6]),
        (("objects", 0, "box"), [0, 0, 10]),
        (("objects", 0, "kind"), nested(700)),
        (("objects", 0, "colour"), "a\n\x1b[2J" * 10**4),
        (("image_id",), 2**70),
        (("width",), 10**6),
        (("clutter", "marks"), 10**9),
    ],
)
def test_impossible_scenes_are_told_before_they_are_drawn(
    world: Path, tmp_path: Path, place: tuple[Any, ...], content: Any
) -> None:
    state = load(world / "world.json")
    inner = state["scenes"][3]
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = content
    (tmp_path / "world.json").write_text(json.dumps(state))
    with pytest.raises(InputError, match=r"world\.json: a scene is damaged.*make-world") as caught:
        read_scenes(tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


def test_progress_counts_the_pictures(tmp_path: Path) -> None:
    counts: list[int] = []
    make_world(tmp_path / "world", images=8, seed=0, progress=counts.append)
    assert counts == list(range(1, 9))
