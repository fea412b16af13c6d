"""Signals to the launcher: the processes hear of them, and none is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vlp_fast.engine.launch import LAUNCHER as LAUNCHER_NAME
from vlp_fast.engine.launch import check_launched
from vlp_fast.errors import InputError

pytestmark = [pytest.mark.dist, pytest.mark.xdist_group("processes")]

PROCESS = """#!/bin/sh
trap 'exit 7' USR1
echo $$
for i in $(seq 300); do
    [ -e "$GO_ON" ] && exit 0
    sleep 0.1
done
"""
LAUNCHER = """
import sys
from vlp_fast.engine.launch import launch

sys.executable = sys.argv[1]  # what is started in place of a run
sys.exit(launch(1, [], print))
"""


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_to_the_launcher(tmp_path: Path, number: signal.Signals) -> None:
    """SIGUSR1 is passed on; a hangup that `nohup` has ignored ends nothing."""
    program, go_on = tmp_path / "process", tmp_path / "go_on"
    program.write_text(PROCESS)
    program.chmod(0o700)
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(program)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "GO_ON": str(go_on)},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    ) as launcher:
        assert launcher.stdout is not None
        process = int(launcher.stdout.readline())
        launcher.send_signal(number)
        if number == signal.SIGHUP:
            go_on.touch()
        launcher.communicate(timeout=60)
    assert launcher.returncode == (0 if number == signal.SIGHUP else 128 + number)
    deadline = time.monotonic() + 20
    while is_running(process):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_process_that_is_killed_is_told_of(tmp_path: Path) -> None:
    """Nobody else would say it: of a killed process there are no last words."""
    program = tmp_path / "process"
    program.write_text("#!/bin/sh\nkill -KILL $$\n")
    program.chmod(0o700)
    words = [sys.executable, "-c", LAUNCHER, str(program)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    said = "process 0 of 1 was ended by SIGKILL, as by a system that is out of memory\n"
    assert (done.returncode, done.stdout) == (137, said)


CHILD = """#!{python}
import os, sys, time
sys.path.insert(0, {root!r})
from vlp_fast.engine.launch import LAUNCHER, end_with_launcher

end_with_launcher()
print(os.getpid(), LAUNCHER in os.environ, flush=True)
time.sleep(60)
"""
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")


@pytest.fixture
def child(tmp_path: Path) -> Path:
    """What a launcher starts in place of a run."""
    program = tmp_path / "child"
    root = str(Path(__file__).parents[2])
    program.write_text(CHILD.format(python=sys.executable, root=root))
    program.chmod(0o700)
    return program


@LINUX
def test_processes_end_with_a_launcher_that_is_killed(child: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(child)], stdout=subprocess.PIPE, text=True
    ) as launcher:
        assert launcher.stdout is not None
        process, is_told = launcher.stdout.readline().split()
        assert is_told == "False"  # what it starts itself is not the launcher's
        assert is_running(int(process))
        launcher.kill()
    deadline = time.monotonic() + 20
    while is_running(int(process)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@LINUX
@pytest.mark.parametrize(("launcher", "code"), [("1", -signal.SIGTERM), ("", 0)])
def test_a_launcher_that_died_before_its_process_looked(
    child: Path, launcher: str, code: int
) -> None:
    """Somebody else is its parent by then; without a launcher nothing ends."""
    child.write_text(child.read_text().replace("time.sleep(60)", ""))
    env = os.environ | ({LAUNCHER_NAME: launcher} if launcher else {})
    done = subprocess.run([str(child)], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert bool(done.stdout) is not bool(launcher)


def is_running(process: int) -> bool:
    """Whether it is there, and not only waiting for somebody to ask how it ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_processes_that_somebody_else_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    check_launched(2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_launched(2)  # by ourselves
    check_launched(1)
    monkeypatch.setenv("WORLD_SIZE", "1")  # as some containers have it
    with pytest.raises(InputError, match="has started 1; leave the option out"):
        check_launched(2)


LEAVER = """
import atexit
from vlp_fast.engine.launch import leave

atexit.register(print, "cleaned up")
print("said")
leave(3)
"""


@pytest.mark.parametrize(
    ("world", "said"), [({}, "said\ncleaned up\n"), ({"WORLD_SIZE": "2"}, "said\n")]
)
def test_one_of_several_processes_ends_without_a_clean_up(world: dict[str, str], said: str) -> None:
    environment = {name: x for name, x in os.environ.items() if name != "WORLD_SIZE"} | world
    done = subprocess.run(
        [sys.executable, "-c", LEAVER], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, said, "")
