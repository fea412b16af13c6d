"""Processes of `torch.distributed` for tests; each is forked from one that has imported torch."""

import multiprocessing
import sys
from pathlib import Path
from typing import Any

import torch

FORKS = multiprocessing.get_context("forkserver")
LAYERS = ("criterion", "matching", "vector_quantize", "visual_dictionary")
FORKS.set_forkserver_preload(
    ["rank_processes", "torch.nn.parallel", *(f"vlp_fast.layers.{name}" for name in LAYERS)]
)


def run_ranks(program: str, folder: Path, world: int, *words: object) -> list[Any]:
    """What each process has saved in FOLDER/RANK.pt: `program` is run with FOLDER RANK WORDS.

    Nothing of this process reaches the others but the environment in which the first began.
    """
    told = [str(word) for word in words]
    processes = [
        FORKS.Process(target=run, args=(program, [str(folder), str(rank), *told]))
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(timeout=240)
        assert [process.exitcode for process in processes] == [0] * world
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(world)]


def run(program: str, words: list[str]) -> None:
    """As `python -c PROGRAM WORDS` would."""
    sys.argv = ["-c", *words]
    exec(compile(program, "program of a rank", "exec"), {"__name__": "__main__"})
