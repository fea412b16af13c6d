"""How much memory a process takes, without waiting for its device."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import torch

STATM = Path("/proc/self/statm")
GIB = 2**30


def memory_gib(device: torch.device) -> float:
    """Of a GPU the most that tensors took at once since the last call; else what is resident now.

    Where the system does not tell what is resident, the most that ever was.
    """
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak / GIB
    if STATM.is_file():
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / GIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
