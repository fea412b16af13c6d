"""Whether codes that start from data have started: a buffer decides, and is asked seldom."""

import torch
import torch.distributed as dist
from torch import Tensor

from vlp_fast.layers.code_update import version_of
from vlp_fast.layers.processes import Processes


class DataStart:
    """What the host knows of a codebook's flag `initted`, so that no step waits for the device.

    The flag is part of the state, and whoever fills the state fills it: by `load_state_dict`,
    buffer by buffer, or by a broadcast. So the host looks at it in the first training step, and
    again when it has been written to or replaced; once it is up, no other step looks.

    Several processes look in their first step together, whatever each has seen alone: they start
    as one, or with the state of the first that has started, for they may have drawn other codes.
    After it only loading a state whose flag is down makes them look again: a broadcast of buffers
    writes to the flag in each step.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._seen_up: tuple[Tensor, int] | None = None
        self._is_up_everywhere = False

    def is_known(self, flag: Tensor) -> bool:
        """Whether the host knows that the flag, () bool, is up, without a look at it."""
        if flag.is_meta:  # it has no value to look at
            return True
        if self._seen_up is None or (self._processes.count > 1 and not self._is_up_everywhere):
            return False
        if torch.compiler.is_compiling() or (dist.is_available() and dist.is_initialized()):
            return True
        seen, version = self._seen_up
        return seen is flag and version == version_of(flag)

    def first_started(self, flag: Tensor) -> int | None:
        """Returns the rank of the first process whose flag is up, None if none is; it waits."""
        flags = self._processes.gather_flags(flag)
        return flags.index(True) if True in flags else None

    def is_up(self, flag: Tensor, *, everywhere: bool = False) -> None:
        """Takes note that the flag is up, or that all processes, if there are several, know so."""
        self._seen_up = flag, version_of(flag)
        self._is_up_everywhere |= everywhere and self._processes.count > 1

    def was_loaded(self, flag: Tensor) -> None:
        """Takes note that a state was loaded."""
        if self._seen_up is not None and not flag.is_meta and bool(flag):
            self.is_up(flag)
        else:
            self._seen_up, self._is_up_everywhere = None, False
