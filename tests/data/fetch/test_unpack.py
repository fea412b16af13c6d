"""Archives that would write elsewhere, or too much."""

import errno
import gzip
import io
import random
import stat
import tarfile
import tracemalloc
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


def bomb(path: Path, kind: str) -> Path:
    """A few kilobytes that become 200 MB of one header, or of folders."""
    with gzip.open(path, "wb") as out:
        if kind == "folders":
            folder = tarfile.TarInfo("a/")
            folder.type = tarfile.DIRTYPE
            for _ in range(2000):
                out.write(folder.tobuf() * 5)
            return path
        header = tarfile.TarInfo("x")
        header.type = tarfile.GNUTYPE_LONGNAME if kind == "name" else tarfile.XHDTYPE
        header.size = 200_000_000
        out.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(200):
            out.write(bytes(1_000_000))
    return path


@pytest.mark.parametrize("kind", ["name", "pax", "folders"])
def test_headers_of_tar_files_are_bounded(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlp_fast.data.fetch.unpack.MOST", 1000)
    (tmp_path / "in").mkdir()
    path = bomb(tmp_path / "in/a.tgz", kind)
    tracemalloc.start()
    refused(path, r"headers has more than|files and folders")
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", ""])
def test_damage_of_compressed_tar_files_is_no_refusal_of_the_disk(
    tmp_path: Path, kind: str
) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in/a.tar"
    with tarfile.open(path, f"w:{kind}") as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo("deep/" * 30 + "noise")
        info.size = 300_000
        archive.addfile(info, io.BytesIO(random.Random(0).randbytes(info.size)))
    (tmp_path / "good").mkdir()
    assert unpack(path, tmp_path / "good") == 1
    content = bytearray(path.read_bytes())
    for place in range(100_000, 100_020):
        content[place] ^= 255
    path.write_bytes(content if kind else content[:200_000])
    refused(path, "cannot be unpacked|another size")


def test_a_folder_may_be_a_link_to_another_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "good").symlink_to(tmp_path / "other")
    replace = Path.replace

    def within_one_disk(self: Path, target: Path) -> Path:
        if self.resolve().parent.parent != target.resolve().parent.parent and (
            ".unpacking" in str(self)
        ):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", within_one_disk)
    assert unpack(zipped(tmp_path / "a.zip"), tmp_path) == 1
    assert (tmp_path / "other/first.txt").read_bytes() == b"good"


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_mistake_is_not_taken_for_damage(tmp_path: Path, kind: str) -> None:
    """Or whoever fetched the archive would delete it."""
    archive = (zipped if kind == "zip" else tarred)(tmp_path / "a", "b")

    def mistaken(size: int) -> None:
        raise RuntimeError("a mistake of ours")

    (tmp_path / "out").mkdir()
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        unpack(archive, tmp_path / "out", tell=mistaken)


def test_an_encrypted_member_is_one_line(tmp_path: Path) -> None:
    place = tmp_path / "in"
    place.mkdir()
    archive = zipped(place / "a", "b")
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(content)
    refused(archive, "first.txt is encrypted")
