"""A warning about values on the device that does not wait for them: it comes one step later."""

import threading
import warnings
from collections import deque

import torch
from torch import Tensor


class LateWarning:
    """Warns when a flag was up, as soon as that is known without a wait.

    On a CPU that is at once. On a GPU the flag is copied to the host behind the step that made it,
    and looked at in the next call if the copy has arrived, otherwise in a later one. Inside of
    `torch.compile`, of a CUDA graph's capture and of fake tensors it keeps silent.

    Args:
        message: of the warning, a RuntimeWarning.
        stacklevel: how many calls above `watch` the line is that the warning names.
    """

    def __init__(self, message: str, stacklevel: int = 1) -> None:
        self.message = message
        self.stacklevel = stacklevel
        self._arriving: deque[tuple[Tensor, torch.cuda.Event]] = deque()
        self._lock = threading.Lock()  # replicas of a module share it

    def watch(self, flags: Tensor) -> None:
        """Look at flags that have arrived, and send these, boolean of any shape, on their way."""
        if torch.compiler.is_compiling() or type(flags) is not Tensor or flags.is_meta:
            return
        if not flags.is_cuda:
            self._tell(bool(flags.any()))
            return
        with torch.cuda.device(flags.device):
            if not torch.cuda.is_current_stream_capturing():
                self._tell(self._has_arrived_up())
                self._send(flags)

    def _send(self, flags: Tensor) -> None:
        on_host = torch.empty((), dtype=torch.bool, device="cpu", pin_memory=True)
        on_host.copy_(flags.any(), non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        with self._lock:
            self._arriving.append((on_host, event))

    def _has_arrived_up(self) -> bool:
        is_up = False
        with self._lock:
            while self._arriving and self._arriving[0][1].query():
                is_up |= bool(self._arriving.popleft()[0])
        return is_up

    def _tell(self, is_up: bool) -> None:
        if is_up:
            warnings.warn(self.message, RuntimeWarning, stacklevel=self.stacklevel + 2)

    def __reduce__(self) -> tuple[type["LateWarning"], tuple[str, int]]:
        """A copy knows nothing of what is on its way: events can be neither copied nor pickled."""
        return LateWarning, (self.message, self.stacklevel)
