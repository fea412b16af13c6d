"""Where an image's file is found, whatever way its name is written, and where it is not."""

import errno
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from vlp_fast.data.sources.image_files import ImageFiles
from vlp_fast.data.sources.report import DataReport
from vlp_fast.errors import InputError

FOLDERS = ("train2017", "images/train2017", "images", "")
COMBINED = unicodedata.normalize("NFC", "Zürich é.jpg")
SEPARATE = unicodedata.normalize("NFD", COMBINED)
assert COMBINED != SEPARATE


@pytest.mark.parametrize(
    ("stated", "there"),
    [
        ("a.jpg", "train2017/a.jpg"),
        ("a.jpg", "images/train2017/a.jpg"),
        ("train2017/a.jpg", "train2017/a.jpg"),
        ("train2017/a.jpg", "images/train2017/a.jpg"),
        ("train2017/a.jpg", "images/a.jpg"),
        ("./train2017/a.jpg", "train2017/a.jpg"),
        ("images/train2017/a.jpg", "images/train2017/a.jpg"),
        ("part 1/sub/a.jpg", "images/part 1/sub/a.jpg"),
        ("train2017\\a.jpg", "train2017/a.jpg"),
        ("C:\\data\\coco\\train2017\\a.jpg", "train2017/a.jpg"),
        ("/home/someone/coco/train2017/a.jpg", "train2017/a.jpg"),
        ("../coco/train2017/a.jpg", "train2017/a.jpg"),
        ("a.jpg", "train2017/a.JPG"),
        ("A.JPG", "train2017/a.jpg"),
        ("train2017/a.jpg", "images/a.JPEG.jpg".replace(".JPEG", "")),
        (COMBINED, f"images/{SEPARATE}"),
        (SEPARATE, f"images/{COMBINED}"),
        (f"train2017/{SEPARATE}", f"train2017/{COMBINED.upper()}"),
    ],
)
def test_names_are_found_as_people_write_them(tmp_path: Path, stated: str, there: str) -> None:
    path = tmp_path / there
    path.parent.mkdir(parents=True)
    path.touch()
    assert ImageFiles(tmp_path).find(FOLDERS, [stated]) == path


@pytest.mark.parametrize(
    "stated",
    ["../a.jpg", "x/../../a.jpg", "{outside}/a.jpg", "..\\a.jpg", "train2017/../../a.jpg", ".."],
)
def test_no_name_leads_out_of_the_root(tmp_path: Path, stated: str) -> None:
    (tmp_path / "a.jpg").touch()
    root = tmp_path / "root"
    (root / "train2017").mkdir(parents=True)
    name = stated.replace("{outside}", str(tmp_path))
    assert ImageFiles(root).find(FOLDERS, [name]) is None


def test_what_is_there_as_stated_goes_first(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.JPG", "a.jpg"):
        (tmp_path / name).touch()
    files = ImageFiles(tmp_path)
    assert files.find(FOLDERS, ["a.jpg"]) == tmp_path / "a.jpg"
    assert files.find(FOLDERS, ["a.JPG"]) == tmp_path / "a.JPG"
    assert files.find(FOLDERS, ["A.jpg"]) is None  # either could be meant


def test_one_file_is_not_two_images(tmp_path: Path) -> None:
    """Images of two folders, of which only one was unpacked, and flat."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").touch()
    files = ImageFiles(tmp_path)
    assert files.find(FOLDERS, ["north/1.jpg"]) == tmp_path / "images" / "1.jpg"
    assert files.find(FOLDERS, ["north/1.jpg"]) == tmp_path / "images" / "1.jpg"
    assert files.find(FOLDERS, ["south/1.jpg"]) is None
    with pytest.raises(InputError, match=r"1 of 3 annotated images have no file, .* south/1\.jpg"):
        files.settle(2, FOLDERS, "error", DataReport())


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int], None]:
    """Let the system refuse to list a folder."""
    listdir = os.listdir

    def make(folder: Path, code: int) -> None:
        def refusing(path: Path) -> list[str]:
            if Path(path) == folder:
                raise OSError(code, os.strerror(code), str(path))
            return listdir(path)

        monkeypatch.setattr(os, "listdir", refusing)

    return make


@pytest.mark.parametrize("how", ["error", "drop"])
@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_the_reason_of_the_system_is_told(
    tmp_path: Path, refuse: Callable[[Path, int], None], how: str, code: int
) -> None:
    """Whose images are not called missing, nor is their download advised."""
    (tmp_path / "train2017").mkdir()
    (tmp_path / "a.jpg").touch()
    refuse(tmp_path / "train2017", code)
    files = ImageFiles(tmp_path)
    assert files.find(FOLDERS, ["a.jpg"]) is not None
    assert files.find(FOLDERS, ["b.jpg"]) is None
    with pytest.raises(InputError) as caught:
        files.settle(1, FOLDERS, how, DataReport())
    assert f"train2017: cannot be listed ({os.strerror(code)})" in str(caught.value)
    assert "download" not in str(caught.value)
    assert "--data.missing-images" not in str(caught.value)


def test_whether_a_file_is_there_cannot_be_said_of_a_folder_that_is_refused(
    tmp_path: Path, refuse: Callable[[Path, int], None]
) -> None:
    (tmp_path / "train2017").mkdir()
    (tmp_path / "a.jpg").touch()
    assert not ImageFiles(tmp_path).has(FOLDERS, ["b.jpg"])
    refuse(tmp_path / "train2017", errno.EACCES)
    files = ImageFiles(tmp_path)
    assert files.has(FOLDERS, ["a.jpg"])
    with pytest.raises(InputError, match=r"train2017: cannot be listed \(Permission denied\)"):
        files.has(FOLDERS, ["b.jpg"])


def test_folders_that_cannot_be_are_only_absent(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    files = ImageFiles(tmp_path)
    odd = ("x" * 9999, "a.jpg/below", "nul\0", "")
    assert files.find(odd, ["a.jpg"]) == tmp_path / "a.jpg"
    assert files.find(odd, ["y" * 9999]) is None
