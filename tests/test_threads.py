"""Threads sleep where they wait, as the command line begins, unless somebody has chosen."""

import os
import subprocess
import sys

import pytest

from vlp_fast.threads import CHOICES

COMMAND = """
import os, sys
from vlp_fast.cli import main
main(["--help"])
assert "torch" not in sys.modules
print("waits", {name: os.environ[name] for name in %r if name in os.environ})
"""
LATE = """
import torch
import vlp_fast.threads
os.environ.clear()
vlp_fast.threads.wait_passively()  # too late, and so not pretended
print("late", dict(os.environ))
"""


@pytest.mark.parametrize("chosen", [{}, *({name: "1"} for name in CHOICES)])
def test_threads_wait_asleep_unless_somebody_chose(chosen: dict[str, str]) -> None:
    command = COMMAND % (CHOICES,) + ("" if chosen else LATE)
    kept = {name: value for name, value in os.environ.items() if name not in CHOICES}
    done = subprocess.run(
        [sys.executable, "-c", command],
        env={**kept, **chosen},
        capture_output=True,
        text=True,
    )
    expected = [f"waits {chosen or {'OMP_WAIT_POLICY': 'passive'}}"]
    expected += [] if chosen else ["late {}"]
    assert done.stdout.splitlines()[-len(expected) :] == expected, done.stderr
