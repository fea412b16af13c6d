"""Two processes never write to one run folder, and nothing remains of a process that was killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vlp_fast.engine import folder_lock as module
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.folder_lock import FolderLock
from vlp_fast.engine.trainer import train
from vlp_fast.errors import InputError

Make = Callable[..., RunConfig]


def test_a_second_holder_is_refused_and_leaves_the_folder_to_the_first(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    folder = tmp_path / "runs" / "a"
    with FolderLock(folder):
        with pytest.raises(InputError, match=r"runs/a: another process trains in it.*--run-dir"):
            FolderLock(folder).__enter__()
        assert list(folder.iterdir()) == []
        (folder / "mine").write_text("")
    with FolderLock(folder):
        pass
    assert (folder / "mine").exists()


def test_a_folder_that_nothing_was_written_to_is_removed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    for folder in (tmp_path / "kept", tmp_path / "kept" / "runs" / "a"):
        with FolderLock(folder):
            assert folder.is_dir()
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_run_is_refused_while_another_is_on(micro: Make, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=1)
    with FolderLock(run.directory):
        with pytest.raises(InputError, match="another process trains in it"):
            train(run)
        assert list(run.directory.iterdir()) == []
    train(run)


def test_the_lock_is_there_before_the_folder_is_read_and_until_the_end(
    micro: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=1)
    held: list[str] = []
    monkeypatch.setattr(FolderLock, "__enter__", lambda self: held.append("on"))
    monkeypatch.setattr(FolderLock, "__exit__", lambda *_: held.append("off"))
    places = {"build_experiment": "trainer", "newest_checkpoint": "keeper", "evaluate": "trainer"}
    for name, place in {**places, "save_checkpoint": "checkpoint_writer"}.items():
        module = sys.modules[f"vlp_fast.engine.{place}"]
        function = getattr(module, name)

        def noted(*words: object, name: str = name, function: Callable = function, **named: object):
            held.append(f"{name} begins")
            result = function(*words, **named)
            held.append(f"{name} ends")
            return result

        monkeypatch.setattr(module, name, noted)
    train(run)
    assert (held[0], held[-1]) == ("on", "off")
    ends = {
        f"{name} {what}" for name in [*places, "save_checkpoint"] for what in ("begins", "ends")
    }
    assert sorted(held[1:-1]) == sorted(ends)
    assert held.index("newest_checkpoint ends") < held.index("save_checkpoint begins")


def test_where_there_are_no_locks_a_run_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fcntl", None)
    with FolderLock(tmp_path / "run"), FolderLock(tmp_path / "run"):
        pass


def test_a_file_system_without_locks_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def unsupported(*_: object) -> None:
        raise OSError(9, "Bad file descriptor")  # what NFS says

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with FolderLock(tmp_path / "run"):
        pass


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    for folder in (tmp_path / "run", tmp_path / "run" / "deeper"):
        with pytest.raises(InputError, match=r"cannot be written.*--run-dir"):
            FolderLock(folder).__enter__()
    assert (tmp_path / "run").read_text() == "mine"


KILLED = """
import multiprocessing, os, sys, time
from pathlib import Path
from vlp_fast.engine.folder_lock import FolderLock

def work():
    print(os.getpid(), flush=True)
    time.sleep(60)

with FolderLock(Path(sys.argv[1])):
    multiprocessing.get_context("fork").Process(target=work).start()
    time.sleep(60)
"""


@pytest.mark.dist
def test_a_kill_frees_the_folder_though_a_worker_lives_on(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        try:
            with pytest.raises(InputError, match="another process"):
                FolderLock(tmp_path).__enter__()
            process.kill()
            process.wait()
            os.kill(worker, 0)  # is there
            with FolderLock(tmp_path):
                pass
        finally:
            process.kill()
            os.kill(worker, signal.SIGKILL)
