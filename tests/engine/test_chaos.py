"""Killed and stopped at random, on 1, 2 and 4 processes, a run ends as if nobody had come."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from process_runs import command, digests, environment, rows

pytestmark = [pytest.mark.dist, pytest.mark.exhaustive, pytest.mark.xdist_group("processes")]

STEPS = 60
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGKILL, signal.SIGKILL)


def disturbed(words: list[str], draw: random.Random) -> int:
    """Start a run, and after some seconds send a signal to one of its processes; the exit code."""
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment()
    ) as run:
        end = time.monotonic() + draw.uniform(2, 25)
        while time.monotonic() < end and run.poll() is None:
            time.sleep(0.1)
        if run.poll() is None:
            children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
            os.kill(draw.choice([run.pid, *map(int, children)]), draw.choice(SIGNALS))
        _, errors = run.communicate(timeout=120)
    assert "Traceback" not in errors, errors
    return run.returncode


@pytest.mark.parametrize("name", ["soho_tiny", "e2e_vlp_tiny"])
def test_a_run_that_is_disturbed_at_random(name: str, small_world: Path, tmp_path: Path) -> None:
    exact = ["--train.reduction", "exact", "--steps", str(STEPS)]
    alone = command(name, small_world, tmp_path / "alone", 1, *exact)
    subprocess.run(alone, check=True, capture_output=True, env=environment())
    draw, disturbances = random.Random(0), 0
    for _ in range(60):
        words = command(name, small_world, tmp_path / "run", draw.choice((1, 2, 4)), *exact)
        if disturbed(words, draw) == 0:
            break
        disturbances += 1
    assert 1 < disturbances < 60
    assert digests(tmp_path / "run", STEPS) == digests(tmp_path / "alone", STEPS)
    mine, theirs = ({row["step"]: row for row in rows(tmp_path / d)} for d in ("run", "alone"))
    assert mine == theirs
