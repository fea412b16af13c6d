"""A run of several processes is the run of one: the same bits, files and lines."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from process_runs import STEPS, command, digests, environment, last_child, rows

from vlp_fast.cli import main

pytestmark = [pytest.mark.dist, pytest.mark.xdist_group("processes")]

EXHAUSTIVE = pytest.mark.exhaustive

Train = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def train(small_world: Path) -> Train:
    def run(name: str, folder: Path, processes: int, *more: str) -> Any:
        words = command(name, small_world, folder, processes, *more)
        return subprocess.run(
            words, capture_output=True, text=True, timeout=300, env=environment(), check=False
        )

    return run


@pytest.fixture(scope="module")
def alone(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run folder of a single process."""

    @cache
    def run(name: str) -> Path:
        folder = tmp_path_factory.mktemp("alone") / "run"
        done = train(name, folder, 1, "--train.reduction", "exact")
        assert done.returncode == 0, done.stderr
        return folder

    return run


@pytest.mark.parametrize(
    ("name", "processes"),
    [
        ("soho_tiny", 4),
        ("e2e_vlp_tiny", 2),
        pytest.param("soho_tiny", 2, marks=EXHAUSTIVE),
        pytest.param("e2e_vlp_tiny", 4, marks=EXHAUSTIVE),
    ],
)
def test_exact_sums_are_the_same_bits(
    alone: Callable[[str], Path], train: Train, tmp_path: Path, name: str, processes: int
) -> None:
    one = alone(name)
    done = train(name, tmp_path / "run", processes, "--train.reduction", "exact")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for step in (3, STEPS):
        assert digests(tmp_path / "run", step) == digests(one, step)
    assert rows(tmp_path / "run") == rows(one)
    kept = sorted(path.name for path in one.iterdir())
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == kept
    assert done.stdout.count(f"step {STEPS}/") == 1
    assert f"{processes} x cpu" in done.stdout


@pytest.mark.parametrize("name", ["soho_tiny", pytest.param("e2e_vlp_tiny", marks=EXHAUSTIVE)])
def test_fast_sums_differ_by_rounding(
    alone: Callable[[str], Path], name: str, train: Train, tmp_path: Path
) -> None:
    one = alone(name)
    done = train(name, tmp_path / "run", 2, "--train.profile", "1:3")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    _, *times = (tmp_path / "run/profile.txt").read_text().split("\n\n")[0].splitlines()
    of_part = {line[:24].strip(): float(line[24:].split()[0]) for line in times}
    *parts, sending, exposed = of_part
    assert parts == ["data", "forward", "backward", "sums over processes", "optimisers"]
    assert (sending, exposed) == ("collectives", "and nothing computed")
    assert 0 < of_part[exposed] <= of_part[sending]
    for mine, theirs in zip(rows(tmp_path / "run")[:2], rows(one)[:2], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert mine["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-3)


@pytest.mark.parametrize("name", ["e2e_vlp_tiny", pytest.param("soho_tiny", marks=EXHAUSTIVE)])
def test_a_run_goes_on_with_another_number_of_processes(
    alone: Callable[[str], Path], name: str, train: Train, tmp_path: Path
) -> None:
    one = alone(name)
    folder = shutil.copytree(one, tmp_path / "run")
    shutil.rmtree(folder / f"checkpoint-{STEPS:08d}")
    done = train(name, folder, 2, "--train.reduction", "exact")
    assert done.returncode == 0, done.stderr
    assert digests(folder) == digests(one)
    assert rows(folder) == rows(one)


@pytest.mark.parametrize("name", ["soho_tiny", pytest.param("e2e_vlp_tiny", marks=EXHAUSTIVE)])
def test_a_signal_to_any_process_stops_all_after_one_step(
    alone: Callable[[str], Path], name: str, small_world: Path, tmp_path: Path
) -> None:
    one = alone(name)
    folder = tmp_path / "run"
    words = command(name, small_world, folder, 2, "--train.reduction", "exact")
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as run:
        os.kill(last_child(run, step=1), signal.SIGTERM)
        out, errors = run.communicate(timeout=120)
    assert run.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in errors, errors
    saved = sorted(int(path.name[-8:]) for path in folder.glob("checkpoint-*"))
    assert saved, out
    words = [*words[: words.index("--train.processes")], "--train.processes", "1"]
    again = subprocess.run(
        [*words, "--train.reduction", "exact"],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(),
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert f"steps {saved[-1]} to {STEPS}" in again.stdout
    assert digests(folder) == digests(one)


def test_an_evaluation_is_shared_and_told_once(
    alone: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its figures are those of one process, and the first alone prints them."""
    words = ["evaluate", str(alone("e2e_vlp_tiny")), "--images", "9", "--split", "val"]
    assert main(words) == 0
    expected = capsys.readouterr().out
    assert expected.count("\n") > 10
    done = subprocess.run(
        [sys.executable, "-m", "vlp_fast", *words, "--processes", "2"],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == expected


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--train.shards", "3"], "2 processes cannot share the 3 shards of a step evenly"),
        (["--data.shorter", "-1"], "--data.shorter"),
        (["--train.shards", "6", "--train.reduction", "exact"], "6 shards a step are no power"),
        (["--optim.lr", "1e30"], "the CNN has diverged; lower --optim"),
    ],
)
def test_what_is_wrong_is_told_once(
    train: Train, tmp_path: Path, more: list[str], said: str
) -> None:
    done = train("soho_tiny", tmp_path / "run", 2, *more)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("vlp-fast: ") == 1
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr


def test_what_the_first_alone_finds_is_told_once(train: Train, tmp_path: Path) -> None:
    (tmp_path / "run" / "metrics.jsonl").mkdir(parents=True)  # where no file can be written
    done = train("e2e_vlp_tiny", tmp_path / "run", 2)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "metrics.jsonl: cannot be written" in done.stderr


def test_a_killed_process_ends_the_others(small_world: Path, tmp_path: Path) -> None:
    words = command("e2e_vlp_tiny", small_world, tmp_path / "run", 2)
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as run:
        os.kill(last_child(run, step=1), signal.SIGKILL)
        began = time.monotonic()
        out, _ = run.communicate(timeout=60)
    assert run.returncode not in (0, None)
    assert (
        "saved step" in out
    )  # by the first process, whose state after its last whole step is good
    assert time.monotonic() - began < 40


@pytest.mark.parametrize("way", ["standalone", pytest.param("port", marks=EXHAUSTIVE)])
def test_torchrun_starts_killed_processes_anew(
    alone: Callable[[str], Path], small_world: Path, tmp_path: Path, way: str
) -> None:
    """As torchrun does by itself, and with the bits of the run that nobody disturbed."""
    folder = tmp_path / "run"
    options = ["--train.reduction", "exact", "--train.log-every", "5"]
    words = command("e2e_vlp_tiny", small_world, folder, 2, *options)
    where = ["--standalone"] if way == "standalone" else ["--master-port", str(_free_port())]
    torchrun = ["torch.distributed.run", *where, "--nproc-per-node", "2", "--max-restarts", "2"]
    with subprocess.Popen(
        [sys.executable, "-m", *torchrun, *words[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as run:
        os.kill(last_child(run, step=3), signal.SIGKILL)
        out, errors = run.communicate(timeout=200)
    assert run.returncode == 0, errors
    assert re.search("steps [345] to 6", out), out  # what the first process could save counts
    one = alone("e2e_vlp_tiny")
    assert digests(folder) == digests(one)
    state, expected = (
        json.loads((path / f"checkpoint-{STEPS:08d}/state.json").read_text())
        for path in (folder, one)
    )
    assert state == expected
    # A line of steps before the loss and behind it is one that nobody disturbed.
    lines, each = rows(folder), rows(one)
    assert [line["step"] for line in lines] == [2, 3, 5, 6, 6]
    for name in ("loss", "gradient_norm", "padding_percent"):
        mean = (each[3][name] + each[4][name]) / 2
        assert lines[2][name] == pytest.approx(mean, rel=1e-6), name


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port: int = free.getsockname()[1]
        return port
