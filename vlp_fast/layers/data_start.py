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

    Under `torch.distributed` all processes look in the same step, as they must start together;
    after it only loading a state whose flag is down makes them look again: a broadcast of buffers
    writes to the flag in each step.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._seen_up: tuple[Tensor, int] | None = None

    def is_known(self, flag: Tensor) -> bool:
        """Whether the host knows that the flag, () bool, is up, without a look at it."""
        if flag.is_meta:  # it has no value to look at
            return True
        if self._seen_up is None:
            return False
        if torch.compiler.is_compiling() or (dist.is_available() and dist.is_initialized()):
            return True
        seen, version = self._seen_up
        return seen is flag and version == version_of(flag)

    def first_started(self, flag: Tensor) -> int | None:
        """Returns the rank of the first process whose flag is up, None if none is; it waits."""
        flags = self._processes.gather_flags(flag)
        return flags.index(True) if True in flags else None

    def is_up(self, flag: Tensor) -> None:
        """Takes note that the flag is up, on all processes."""
        self._seen_up = flag, version_of(flag)

    def was_loaded(self, flag: Tensor) -> None:
        """Takes note that a state was loaded."""
        if self._seen_up is not None and not flag.is_meta and bool(flag):
            self.is_up(flag)
        else:
            self._seen_up = None
