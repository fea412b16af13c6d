"""A run that hangs tells where, and ends; one that goes on is left alone."""

import subprocess
import sys

import pytest

PROGRAM = """
import time
from vlp_fast.engine.watchdog import Watchdog

def hang():
    time.sleep(60)

dog = Watchdog({minutes})
for _ in range(4):
    dog.visit()
    time.sleep(0.3)
with dog.off_duty():
    time.sleep(1.5)
{then}
print("went on")
"""


def run(minutes: float, then: str) -> "subprocess.CompletedProcess[str]":
    program = PROGRAM.format(minutes=minutes, then=then)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False
    )


def test_a_hang_is_shown_and_ended() -> None:
    done = run(1 / 60, "hang()")
    assert done.returncode == 1
    assert "in hang" in done.stderr
    assert "went on" not in done.stdout


@pytest.mark.parametrize(
    ("minutes", "then"), [(1 / 60, "dog.leave(); time.sleep(1.5)"), (0, "time.sleep(1.5)")]
)
def test_what_does_not_hang_goes_on(minutes: float, then: str) -> None:
    done = run(minutes, then)
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")
