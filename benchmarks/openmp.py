"""How the threads of a CPU wait for one another; to be settled before torch is imported."""

from __future__ import annotations

import os
import sys

VARIABLE = "OMP_WAIT_POLICY"


def wait_passively() -> None:
    """Let threads sleep where they wait, unless the environment says otherwise.

    Spinning gains little on an idle machine. Beside one other busy process on two cores it
    multiplied the time of a criterion by 8, from 26 ms to 213 ms (by hand, 2026-11-21, torch 2.11).
    Two OpenMP runtimes in one process, PyTorch's and a compiled graph's, spin against each other.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault(VARIABLE, "passive")


def wait_policy() -> str:
    """What OpenMP was told; empty for its default."""
    return os.environ.get(VARIABLE, "")
