"""A file that is replaced is the old one or the new one, never half of either."""

import errno
import json
from pathlib import Path

import pytest

from vlp_fast import whole_file as module
from vlp_fast.whole_file import write_json, write_whole


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def test_json_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"a": 1, "path": Path("x")})

    def kill(_: Path) -> None:
        raise Killed

    monkeypatch.setattr(module, "sync", kill)
    with pytest.raises(Killed):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1, "path": "x"}


def test_content_and_name_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[tuple[str, bool]] = []
    path = tmp_path / "vocab.txt"
    monkeypatch.setattr(module, "sync", lambda p: flushed.append((p.name, path.exists())))
    write_whole(path, lambda partial: partial.write_text("[PAD]"))
    assert flushed == [(".vocab.txt.partial", False), (tmp_path.name, True)]
    assert path.read_text() == "[PAD]"


def test_a_full_disk_leaves_no_half(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("{}")

    def fill(partial: Path) -> None:
        partial.write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_whole(path, fill)
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    assert path.read_text() == "{}"
