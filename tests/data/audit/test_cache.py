"""What is known of image files goes on where it was broken off, and is never taken for more."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.data.audit import Audit, audit, image_files
from vlp_fast.data.audit.cache import NAME
from vlp_fast.data.audit.splits import SplitOptions
from vlp_fast.data.store.pack import pack
from vlp_fast.data.world.layouts import make_world

PICTURE = "images/000000000004.png"


def check(*roots: Path, cache: Path | None = None, **settings: Any) -> Audit:
    usual = {"max_pixels": 64_000_000, "max_text_length": 64, "workers": 0}
    return audit(roots, SplitOptions(), cache=cache, **(usual | settings))


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are opened."""
    paths: list[Path] = []
    look_at = image_files.look_at

    def watched(path: Path, max_pixels: int) -> Any:
        paths.append(path)
        return look_at(path, max_pixels)

    monkeypatch.setattr(image_files, "look_at", watched)
    return paths


def test_the_second_time_nothing_is_opened(world: Path, looked_at: list[Path]) -> None:
    first = check(world)
    assert (first.remembered, len(looked_at)) == (0, first.images)
    again = check(world)
    assert (again.remembered, len(looked_at)) == (first.images, first.images)
    assert again.findings == first.findings
    assert again.counts == first.counts


def test_it_moves_with_the_data(world: Path, looked_at: list[Path]) -> None:
    first = check(world)
    moved = world.with_name("moved")
    world.rename(moved)
    assert check(moved).remembered == first.images


def test_what_has_changed_is_looked_at_again(world: Path, looked_at: list[Path]) -> None:
    check(world)
    looked_at.clear()
    path = world / PICTURE
    state = path.stat()
    path.write_bytes(path.read_bytes()[:-30] + bytes(30))  # of the same size
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))
    assert not check(world).is_clean
    assert looked_at == [path]
    assert not check(world).is_clean  # what is broken is not remembered
    assert looked_at == [path, path]


def test_other_limits_are_heeded(world: Path) -> None:
    first = check(world)
    assert first.is_clean
    limited = check(world, max_pixels=64 * 64)
    assert not limited.is_clean
    assert 0 < limited.remembered < first.images
    assert check(world).remembered == first.images


def test_a_check_that_is_broken_off_goes_on(
    world: Path, looked_at: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "AT_ONCE", 4)
    look_at = image_files.look_at

    def interrupted(path: Path, max_pixels: int) -> Any:
        if len(looked_at) == 10:
            raise KeyboardInterrupt
        return look_at(path, max_pixels)

    with monkeypatch.context() as patch:
        patch.setattr(image_files, "look_at", interrupted)
        with pytest.raises(KeyboardInterrupt):
            check(world)
    assert check(world).remembered == 8  # all that was handed over


def test_a_killed_writer_leaves_the_old_one(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = check(world)
    (world / f".{NAME}.partial").write_text('{"format": "vlp')  # what a kill leaves
    assert check(world).remembered == first.images


def with_files(text: str, edit: Callable[[Any], Any]) -> str:
    document = json.loads(text)
    return json.dumps({**document, "files": {k: edit(v) for k, v in document["files"].items()}})


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[1, 2]",
        lambda text: "null",
        lambda text: '{"files": 3}',
        lambda text: "\x00" * 99,
        lambda text: text.replace("vlp_fast.check 1", "vlp_fast.check 0"),
        lambda text: text.replace("Pillow ", "Pillow 0."),
        lambda text: with_files(text, lambda row: row[:2]),
        lambda text: with_files(text, lambda row: None),
        lambda text: with_files(text, lambda row: [*row[:3], 7, *row[4:]]),
        lambda text: with_files(text, lambda row: [*row[:4], "high", *row[5:]]),
        lambda text: with_files(text, lambda row: [*row[:4], -row[4], *row[5:]]),
        lambda text: with_files(text, lambda row: [*row[:6], 9]),
    ],
)
def test_a_damaged_cache_is_ignored(world: Path, damage: Callable[[str], str]) -> None:
    first = check(world)
    path = world / NAME
    before = path.read_text()
    path.write_text(damage(before))
    found = check(world)
    assert found.remembered == 0
    assert found.findings == first.findings
    assert json.loads(path.read_text()) == json.loads(before)


def test_one_file_for_several_folders(world: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(world, other)
    cache = tmp_path / "known.json"
    first = check(world, other, cache=cache)
    assert check(world, other, cache=cache).remembered == first.images
    assert not (world / NAME).exists()
    apart = check(world, other)
    assert apart.remembered == 0
    assert (world / NAME).exists()
    assert (other / NAME).exists()
    assert check(other).remembered == first.images / 2


def test_a_cache_that_cannot_be_written_is_told(world: Path) -> None:
    (world / NAME).mkdir()
    found = check(world)
    assert found.is_clean
    (note,) = found.notes
    assert NAME in note
    assert "--cache FILE" in note


def test_a_world_that_was_checked_may_be_drawn_anew(world: Path) -> None:
    check(world)
    assert (world / NAME).exists()
    make_world(world, images=8, seed=1)
    assert not (world / NAME).exists()


def test_pictures_in_shards_are_remembered_until_their_shard_changes(
    world: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "packed"
    pack(world, packed, shard_bytes=2**17, workers=1, say=lambda line: None)
    first = check(packed)
    assert check(packed).remembered == first.images
    shard = sorted(packed.glob("**/*.tar"))[0]
    state = shard.stat()
    os.utime(shard, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))
    assert 0 < check(packed).remembered < first.images
