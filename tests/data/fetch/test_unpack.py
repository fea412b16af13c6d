"""Archives that would write elsewhere, or too much."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from vlp_fast.data.fetch.unpack import unpack
from vlp_fast.errors import InputError


def zipped(path: Path, *names: str, mode: int = 0, content: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good/first.txt", b"good")
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def tarred(path: Path, name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        good = tarfile.TarInfo("good/first.txt")
        good.size = 4
        archive.addfile(good, io.BytesIO(b"good"))
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        archive.addfile(info)
    return path


def refused(archive: Path, why: str) -> None:
    """Nothing of it is anywhere."""
    folder = archive.parent / "out"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    before = sorted(archive.parent.parent.rglob("*"))
    with pytest.raises(InputError, match=why) as caught:
        unpack(archive, folder)
    assert "\n" not in str(caught.value)
    assert sorted(archive.parent.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "a/../../evil", "C:/evil", "C:evil", "..\\evil", "\\\\h\\evil"]
)
def test_nothing_leaves_the_folder(tmp_path: Path, name: str) -> None:
    for kind in ("zip", "tar"):
        place = tmp_path / kind / "in"
        place.mkdir(parents=True)
        make = zipped if kind == "zip" else tarred
        refused(make(place / "a", name), r"leads out|no name")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.BLKTYPE]
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "in").mkdir()
    refused(tarred(tmp_path / "in/a.tgz", "evil", kind, "/etc"), "is a link or a device")


def test_links_in_zip_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = zipped(tmp_path / "in/a.zip", "evil", mode=stat.S_IFLNK | 0o777, content=b"/etc")
    refused(path, "is a link or a device")


def test_size_is_bounded(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", "zeros", content=bytes(10_000_000))
    assert path.stat().st_size < 20_000
    with pytest.raises(InputError, match="more than 9,000,000 bytes"):
        unpack(path, tmp_path, largest=9_000_000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip"]


def test_a_declared_size_that_is_wrong_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = zipped(tmp_path / "in/a.zip", "zeros", content=bytes(10_000))
    content = path.read_bytes()
    assert content.count((10_000).to_bytes(4, "little")) == 2
    path.write_bytes(content.replace((10_000).to_bytes(4, "little"), (9_000).to_bytes(4, "little")))
    refused(path, "cannot be unpacked")


@pytest.mark.parametrize("damage", ["cut", "text", "twice"])
def test_damage_is_one_line(tmp_path: Path, damage: str) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in/a.zip"
    if damage == "twice":
        with pytest.warns(UserWarning, match="Duplicate"):
            zipped(path, "one", "one")
    else:
        zipped(path, "one")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:60])
    if damage == "text":
        path.write_text("<html>")
    refused(path, "cannot be unpacked")


def test_good_archives_are_unpacked_over_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good/first.txt").write_text("old")
    (tmp_path / "good/mine.txt").write_text("mine")
    assert unpack(zipped(tmp_path / "a.zip", "b/c/d", "empty/"), tmp_path) == 2
    assert (tmp_path / "good/first.txt").read_text() == "good"
    assert (tmp_path / "good/mine.txt").read_text() == "mine"
    assert (tmp_path / "b/c/d").read_bytes() == b"x"
    assert unpack(tarred(tmp_path / "a.tgz", "e"), tmp_path) == 2
