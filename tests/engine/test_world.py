"""Processes that cannot go on tell the others, wherever these are, and none is waited for."""

import signal
import socket
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from rank_processes import run_ranks

from vlp_fast.engine.config import TrainConfig
from vlp_fast.engine.world import patience, world_of
from vlp_fast.errors import InputError

pytestmark = [pytest.mark.dist, pytest.mark.xdist_group("processes")]

PROGRAM = """
import os, signal, sys, time, torch, warnings
from vlp_fast.engine import world as module
from vlp_fast.engine.config import TrainConfig
from vlp_fast.engine.told_once import ToldOnce
from vlp_fast.engine.stop import Stopped, StopRequest
from vlp_fast.errors import InputError

folder, rank, port, other = sys.argv[1:]
os.environ |= {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
os.environ |= {"LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": "2"}
torch.cuda.is_available = lambda: True  # a GPU that a run on the CPU leaves alone
found = []

def ask(world, failing, place):
    for number in range(4):
        if world.rank == failing and place == number:
            raise InputError("is broken")
        if number == 1:
            world.first_value("a")
        else:
            world.all_values(number)

with module.world_of(TrainConfig(shards=2, device="cpu", watchdog_minutes=0)) as world:
    for failing in range(2):
        for place in range(4):
            try:
                with module.together(world):
                    ask(world, failing, place)
            except InputError as error:
                found.append((type(error).__name__, str(error)))
    found.append(world.all_values(10 + world.rank))
    found.append(world.first_value(world.rank))
    with StopRequest(world) as stop:
        if rank == "1":
            os.kill(os.getpid(), signal.SIGUSR1)
        stop.check()
        try:
            stop.check()
        except Stopped as stopped:
            found.append(stopped.number)
    with ToldOnce(world) as told, warnings.catch_warnings():
        warnings.simplefilter("always")
        for text in ("of both", f"of {rank}", f"of {rank}"):
            warnings.warn(text)
        found.append(told.gather())
        warnings.warn("of 1")
        found.append(told.gather())

# One fails; the other waits for it and is told, and neither asks for the other's leave.
module.dist.destroy_process_group = lambda: found.append("destroyed")
os.environ["MASTER_PORT"] = other
try:
    with module.world_of(TrainConfig(shards=2, device="cpu", watchdog_minutes=0)) as world:
        began = time.monotonic()
        with module.told_of_loss(world):
            if rank == "0":
                raise ZeroDivisionError
            world.all_values(0)
except (ZeroDivisionError, InputError) as error:
    found.append((type(error).__name__, time.monotonic() - began < 20))
found.append(module.dist.is_initialized())
torch.save(found, f"{folder}/{rank}.pt")
"""


def test_one_that_fails_meets_the_others_wherever_they_are(tmp_path: Path) -> None:
    with socket.socket() as free, socket.socket() as other:
        ports = []
        for place in (free, other):
            place.bind(("localhost", 0))
            ports.append(place.getsockname()[1])
    first, second = run_ranks(PROGRAM, tmp_path, 2, *ports)
    told = "ToldTogether"
    assert first == [(told, "is broken")] * 4 + [(told, "process 1 of 2: is broken")] * 4 + [
        [10, 11],
        0,
        signal.SIGUSR1,
        ["warning: of 1"],
        [],
        ("ZeroDivisionError", True),
        False,
    ]
    assert second[:8] == [("ToldElsewhere", "is broken")] * 8
    assert second[8:11] == [[10, 11], 0, signal.SIGUSR1]
    assert second[13:] == [("ToldElsewhere", True), False]


def test_a_watchdog_speaks_before_others_lose_patience() -> None:
    assert patience(TrainConfig(watchdog_minutes=90)) > timedelta(minutes=90)
    assert patience(TrainConfig(watchdog_minutes=0)) > timedelta(0)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with (
        pytest.raises(InputError, match=r"4 processes .* torch sees 3 GPUs"),
        world_of(TrainConfig(shards=4)),
    ):
        pass
