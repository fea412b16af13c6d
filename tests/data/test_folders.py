"""What the system refuses is told with its reason; what is not there is not there."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.data.sources import load_dataset
from vlp_fast.data.sources.folders import is_file, names_in
from vlp_fast.errors import InputError


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Take the right to search a folder, as `chmod 0` does for everybody but root."""
    listdir, stat = os.listdir, Path.stat

    def make(folder: Path) -> None:
        def refused(path: Path, is_inside: bool) -> None:
            if folder in (path.parents if is_inside else (path, *path.parents)):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

        def refusing_listdir(path: Path) -> list[str]:
            refused(Path(path), False)
            return listdir(path)

        def refusing_stat(path: Path, **options: Any) -> os.stat_result:
            refused(path, True)
            return stat(path, **options)

        monkeypatch.setattr(os, "listdir", refusing_listdir)
        monkeypatch.setattr(Path, "stat", refusing_stat)

    return make


@pytest.mark.parametrize("layout", ["auto", "coco", "karpathy", "visual_genome"])
@pytest.mark.parametrize("folder", ["", "annotations"])
def test_a_folder_that_may_not_be_read_says_so(
    coco_folder: Path, refuse: Callable[[Path], None], layout: Any, folder: str
) -> None:
    """It does not seem empty, nor is a download advised."""
    refuse(coco_folder / folder)
    with pytest.raises(InputError) as caught:
        load_dataset(coco_folder, "train", layout=layout)
    message = str(caught.value)
    assert "Permission denied" in message
    assert "download" not in message
    assert "\n" not in message


def test_pictures_that_may_not_be_read_are_not_missing(
    coco_folder: Path, refuse: Callable[[Path], None]
) -> None:
    refuse(coco_folder / "train2017")
    with pytest.raises(InputError) as caught:
        load_dataset(coco_folder, "train")
    assert f"{coco_folder / 'train2017'}: cannot be listed (Permission denied)" in str(caught.value)
    assert "download" not in str(caught.value)


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        ("a" * 300, "File name too long"),
        ("b/" * 3000, "File name too long"),
        ("loop", "symbolic links"),
        ("file/below", "is below a file"),
        ("file", "is a file, not a folder"),
        ("absent", "no such folder"),
        ("nul\0", "null byte"),
    ],
)
def test_roots_that_cannot_be_are_one_line(tmp_path: Path, root: str, reason: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError) as caught:
        load_dataset(tmp_path / root, "train")
    assert reason in str(caught.value)
    assert "give the folder of the data set with --data.root" in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for root in (Path(), Path("set")):
        with pytest.raises(InputError):
            load_dataset(root, "train")


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("absent", "file/below", "x" * 999, "nul\0"):
        assert not is_file(tmp_path / name)
        assert names_in(tmp_path / name) == frozenset()
    assert not is_file(tmp_path)
    assert names_in(tmp_path / "file") == frozenset()
    assert is_file(tmp_path / "file")
    assert names_in(tmp_path) == {"file"}
