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
    thousands of sums and products in a step waits until it is given back. No setting has both.
    Images a second of `soho_tiny` on two cores, alone and beside `yes` (2026-11-30, torch 2.11,
    EPYC, medians): spinning 54 and less than 2, `GOMP_SPINCOUNT=10000` 46 and 14, asleep 31 and
    30, one thread 40 and 43. So a machine that is shared runs small models best by
    `OMP_NUM_THREADS=1`, as `make pretrain` does, and one that is not by
    `GOMP_SPINCOUNT=300000`; larger steps depend less on either.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in CHOICES):
        os.environ[POLICY] = "passive"


def wait_policy() -> str:
    """What OpenMP was told; empty for its default."""
    return os.environ.get(POLICY, "")
