"""Starting the processes of a run on this machine, by torchrun; torch-free until then."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def is_first() -> bool:
    """Whether this process speaks for all: alone, or as torchrun has it."""
    return os.environ.get("RANK", "0") == "0"


def is_launched() -> bool:
    """Whether torchrun has started this process."""
    return "WORLD_SIZE" in os.environ


def launch(processes: int, words: Sequence[str]) -> int:
    """Become a torchrun that runs this command in so many processes.

    Args:
        processes: how many.
        words: of the command, behind `vlp-fast`.
    """
    # Torch 2.11 shares a store between the processes and torchrun; one that is started anew reads
    # the addresses of those that are gone (pytorch 135712).
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun would, with a warning
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    os.execv(sys.executable, [sys.executable, "-m", *torchrun, "-m", "vlp_fast", *words])
