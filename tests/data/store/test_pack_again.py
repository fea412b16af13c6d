"""Packing that was killed, failed, or lost something since, goes on with the same command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packed_files import CUT, files

from vlp_fast.data.store import pack as module
from vlp_fast.data.store.pack import pack
from vlp_fast.data.store.shard_index import INDEX
from vlp_fast.errors import InputError

KILLED = """
import os, sys
from pathlib import Path
from vlp_fast.data.store import pack as module
tell = module._Packer._tell
left = [int(sys.argv[3])]
def killed(self, size):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), 9)
    tell(self, size)
module._Packer._tell = killed
module.pack(Path(sys.argv[1]), Path(sys.argv[2]), shard_bytes=40_000, workers=1)
"""


@pytest.mark.parametrize("after", [1, 9, 31])
def test_a_killed_packing_goes_on(
    small_world: Path, packed: Path, tmp_path: Path, after: int
) -> None:
    out = tmp_path / "out"
    words = [sys.executable, "-c", KILLED, str(small_world), str(out), str(after)]
    assert subprocess.run(words, check=False).returncode == -9
    whole = {path: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    assert not (out / INDEX).exists() and len(whole) < len(list(packed.glob("*.tar")))
    assert whole or after < 31
    for path in whole:
        assert path.read_bytes() == (packed / path.name).read_bytes()
    assert pack(small_world, out, shard_bytes=CUT).is_new
    assert files(out) == files(packed)
    assert {path: path.stat().st_mtime_ns for path in whole} == whole
    assert not pack(small_world, out, shard_bytes=CUT).is_new


def test_a_failed_packing_says_why_and_goes_on(
    small_world: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    whole = module.write_shard

    def full(path: Path, source: Path, names: object, number: int, tell: object) -> object:
        if number == 2:
            raise OSError(28, os.strerror(28), str(path))
        return whole(path, source, names, number, tell)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_shard", full)
        with pytest.raises(InputError, match="No space left on device; free some space"):
            pack(small_world, out, shard_bytes=CUT)
    assert not (out / "shard-000002.tar").exists() and not list(out.glob(".*.partial"))
    pack(small_world, out, shard_bytes=CUT)
    assert files(out) == files(packed)


def test_a_full_disk_is_not_called_the_sources(
    small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(old: Path, new: Path) -> None:
        raise OSError(28, os.strerror(28), str(old), None, str(new))

    monkeypatch.setattr("vlp_fast.data.store.pack.shutil.copy2", full)
    with pytest.raises(InputError, match="No space left on device; free some") as caught:
        pack(small_world, tmp_path / "out")
    assert str(tmp_path / "out") in str(caught.value)
    assert str(small_world) not in str(caught.value)


def test_the_same_command_mends_what_was_lost_or_changed(
    small_world: Path, packed: Path, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(small_world, source)
    again = lambda: pack(source, out, shard_bytes=CUT)
    again()
    whole = files(out)
    assert not again().is_new
    (out / "shard-000001.tar").unlink()
    (out / "shard-000003.tar").write_bytes(b"cut")
    kept = {path: path.stat().st_mtime_ns for path in out.glob("shard-00000[024].tar")}
    assert again().is_new and files(out) == whole
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    (out / INDEX).write_bytes(b"damaged")
    assert again().is_new and files(out) == whole
    shutil.copy(packed / INDEX, out / INDEX)
    path = source / "annotations/captions_world.json"
    path = path if path.exists() else next((source / "annotations").glob("*.json"))
    path.write_text(path.read_text() + "\n")
    assert again().is_new
    assert (out / "annotations" / path.name).read_text() == path.read_text()
    assert not again().is_new


def test_shards_that_were_moved_away_are_not_packed_again(
    small_world: Path, packed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(packed, out)
    for shard in out.glob("*.tar"):
        shard.unlink()
    (out / "shards.url").write_text("memory://elsewhere")
    assert not pack(small_world, out, shard_bytes=CUT).is_new
    assert not list(out.glob("*.tar"))
