"""A checkpoint that may not be read is neither absent nor damaged."""

import os
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from vlp_fast.engine.checkpoint import complete_checkpoints, newest_checkpoint, save_checkpoint
from vlp_fast.engine.snapshot import HostMemory
from vlp_fast.errors import InputError


def save(folder: Path, step: int, keep: int = 2) -> Path:
    snapshot = HostMemory().take(nn.Linear(2, 2), [], {"scaler": {}})
    return save_checkpoint(folder, step, snapshot, keep=keep)


@pytest.mark.parametrize("what", ["", "checkpoint-00000002", "checkpoint-00000002/state.json"])
def test_what_may_not_be_read_is_neither_absent_nor_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Or the run would begin anew, and delete it."""
    for step in (1, 2):
        save(tmp_path, step)
    forbid(tmp_path / what, monkeypatch)
    for look in (complete_checkpoints, newest_checkpoint):
        with pytest.raises(InputError, match=r"Permission denied") as caught:
            look(tmp_path)
        assert str(tmp_path / what).removesuffix("/state.json") in str(caught.value)
    if what:
        save(tmp_path, 3, keep=1)
        monkeypatch.undo()
        assert [path.name[-1] for path in complete_checkpoints(tmp_path)] == ["1", "2", "3"]


def test_contents_that_may_not_be_read_are_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    newer = save(tmp_path, 2)
    forbid(newer / "model.safetensors", monkeypatch)
    with pytest.raises(InputError, match=f"{newer}: Permission denied; give yourself the right"):
        newest_checkpoint(tmp_path)


def forbid(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the rights to a file or a folder, as `chmod 0` does for everybody but root."""
    listdir, stat, open_ = os.listdir, Path.stat, Path.open

    def check(path: Path, *, is_below: bool = False) -> None:
        if target in path.parents or (path == target and not is_below):
            raise PermissionError(13, "Permission denied", str(path))

    def refusing_listdir(path: Path) -> list[str]:
        check(Path(path))
        return listdir(path)

    def refusing_stat(path: Path, **options: Any) -> os.stat_result:
        check(path, is_below=True)
        return stat(path, **options)

    def refusing_open(path: Path, *words: Any, **options: Any) -> Any:
        check(path)
        return open_(path, *words, **options)

    monkeypatch.setattr(os, "listdir", refusing_listdir)
    monkeypatch.setattr(Path, "stat", refusing_stat)
    monkeypatch.setattr(Path, "open", refusing_open)
