"""How the threads of a CPU wait for one another; to be settled before torch is imported."""

from __future__ import annotations

import os
import sys

POLICY = "OMP_WAIT_POLICY"
CHOICES = (POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""By any of these somebody has chosen; the first is for every OpenMP, the others are of GNU's,
which PyTorch's wheels bring along, and of Intel's and LLVM's."""


def wait_passively() -> None:
    """Let threads sleep where they wait, unless the environment says otherwise.

    By default they spin for milliseconds, and where another process has their core, each of the
    thousands of sums and products in a step waits until it is given back. Two threads that added to
    100,000 numbers took 40 us in the median if they slept and 140 ms if they span, on two cores
    with ten busy processes (2026-11-30, torch 2.11); alone, spinning saves 17 us of 30. Beside one
    other process on two cores it multiplied the time of a criterion by 8, from 26 ms to 213 ms
    (2026-11-21). Two OpenMP runtimes in one process, PyTorch's and a compiled graph's, spin against
    each other.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in CHOICES):
        os.environ[POLICY] = "passive"


def wait_policy() -> str:
    """What OpenMP was told; empty for its default."""
    return os.environ.get(POLICY, "")
