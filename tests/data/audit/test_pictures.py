"""Every kind of damage to image files is found, counted and named, and nothing else is."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hard_images import hard_images
from PIL import Image

from vlp_fast.data.audit import Audit
from vlp_fast.data.store.pack import pack

Look = Callable[..., Audit]
PICTURE, OTHER = "images/000000000005.png", "images/000000000007.png"
SHOWING = "world train, VQA train, SNLI-VE train"


def kinds(found: Audit) -> list[tuple[str, int, str]]:
    return [(finding.level, finding.count, finding.what) for finding in found.findings]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_bytes(b"<html>404</html>")


def huge(path: Path) -> None:
    path.write_bytes(hard_images()["huge.jpg"])


def long(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(2**30 + 1)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_jpeg(path: Path) -> None:
    image = Image.open(path).convert("RGB")
    image.save(path, "JPEG")


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)


def doubled(path: Path) -> None:
    image = Image.open(path)
    image.resize((2 * image.width, 2 * image.height)).save(path)


def narrowed(path: Path) -> None:
    image = Image.open(path)
    image.resize((image.width, image.height // 3)).save(path)


def test_a_healthy_world_is_ready(world: Path, look: Look) -> None:
    found = look(world)
    assert kinds(found) == []
    assert found.is_clean
    files = [*world.glob("images/*.png"), *world.glob("nlvr2/**/*.png")]
    assert found.images == len(files) > 60
    assert {"world train", "VQA test-dev", "NLVR2 dev", "SNLI-VE test"} <= {
        split.title for split in found.splits
    }


@pytest.mark.parametrize(
    ("damage", "level", "what"),
    [
        (cut, "replaced", "image files cannot be decoded to their end"),
        (empty, "replaced", "image files are empty"),
        (text, "replaced", "image files cannot be opened"),
        (huge, "replaced", "image files are too large, or declare too many pixels"),
        (long, "replaced", "image files are too large, or declare too many pixels"),
        (pipe, "replaced", "image files cannot be opened"),
        (as_jpeg, "told", "image files are of another format than they are called"),
        (turned, "told", "image files are stored turned or mirrored (EXIF)"),
    ],
)
def test_a_damaged_file(
    world: Path, look: Look, damage: Callable[[Path], None], level: str, what: str
) -> None:
    damage(world / PICTURE)
    found = look(world)
    assert kinds(found) == [(level, 1, what)]
    assert found.findings[0].where == SHOWING
    assert found.findings[0].examples[0].startswith(f"{PICTURE}: ")
    assert found.is_clean is (level == "told")


@pytest.mark.parametrize(
    ("damage", "level", "what"),
    [
        (doubled, "told", "image files have another size than annotated"),
        (
            narrowed,
            "replaced",
            "image files have another shape than annotated, so their boxes cannot be placed",
        ),
    ],
)
def test_a_file_of_another_size(
    world: Path, look: Look, damage: Callable[[Path], None], level: str, what: str
) -> None:
    damage(world / PICTURE)
    found = look(world)
    assert kinds(found) == [(level, 1, what)]
    assert found.findings[0].where == "world train"
    assert PICTURE in found.findings[0].examples[0]


def test_a_size_limit(world: Path, look: Look) -> None:
    sizes = [Image.open(path).size for path in world.glob("images/*.png")]
    areas = sorted({width * height for width, height in sizes})
    found = look(world, max_pixels=areas[-1] - 1)
    large = found.findings[0]
    assert (large.level, large.what) == (
        "replaced",
        "image files are too large, or declare too many pixels",
    )
    pictures = [name for name in large.examples if name.startswith("images/")]
    assert len(pictures) == sum(width * height == areas[-1] for width, height in sizes)


def test_missing_files(world: Path, look: Look) -> None:
    for name in (PICTURE, OTHER):
        (world / name).unlink()
    found = look(world)
    missing = [f for f in found.findings if f.level == "refused"]
    assert [f.where for f in missing] == ["world train", "VQA train", "SNLI-VE train"]
    for finding in missing:
        assert (finding.count, finding.what) == (2, "annotated images have no file")
    assert missing[0].examples == (Path(PICTURE).name, Path(OTHER).name)
    rest = {(f.level, f.what, f.where) for f in found.findings} - {
        (f.level, f.what, f.where) for f in missing
    }
    gone = "samples without a picture dropped"
    assert rest == {("left out", gone, "VQA train"), ("left out", gone, "SNLI-VE train")}


def test_files_that_no_record_shows(world: Path, look: Look) -> None:
    for name in ("spare.jpg", "spare.PNG", "notes.txt"):
        shutil.copy(world / PICTURE, world / "images" / name)
    found = look(world)
    assert kinds(found) == [("told", 2, "image files that no record shows")]
    assert set(found.findings[0].examples) == {"images/spare.jpg", "images/spare.PNG"}


def test_what_vanishes_meanwhile(world: Path, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = Path.stat

    def gone(path: Path, **options: bool) -> os.stat_result:
        if path.name == Path(PICTURE).name and path.parent.name == "images":
            raise FileNotFoundError(2, "No such file or directory")
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", gone)
    found = look(world)
    assert kinds(found) == [("replaced", 1, "image files cannot be opened")]
    assert "No such file" in found.findings[0].examples[0]


def test_processes_find_what_one_finds(world: Path, look: Look) -> None:
    for name, damage in ((PICTURE, cut), (OTHER, turned)):
        damage(world / name)
    alone, together = look(world), look(world, workers=3)
    assert together.findings == alone.findings
    assert len(alone.findings) == 2
    assert together.images == alone.images


def test_a_packed_world(world: Path, look: Look, tmp_path: Path) -> None:
    cut(world / PICTURE)
    shutil.rmtree(world / "nlvr2")
    packed = tmp_path / "packed"
    pack(world, packed, shard_bytes=2**20, workers=1, say=lambda line: None)
    found = look(packed)
    assert kinds(found) == [("replaced", 1, "image files cannot be decoded to their end")]
    assert found.findings[0].where == SHOWING
    assert found.findings[0].examples[0].startswith(f"{PICTURE}: ")
