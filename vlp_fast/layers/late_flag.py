"""A flag on the device that the host learns of without waiting for it: one step later."""

import threading
from collections import deque

import torch
from torch import Tensor


class LateFlag:
    """Tells whether a flag was up, as soon as that is known without a wait.

    On a CPU that is at once. On a GPU the flag is copied to the host behind the step that made it,
    and looked at in the next call if the copy has arrived, otherwise in a later one. Inside of
    `torch.compile`, of a CUDA graph's capture and of fake tensors nothing is ever known.
    """

    def __init__(self) -> None:
        self._arriving: deque[tuple[Tensor, torch.cuda.Event]] = deque()
        self._lock = threading.Lock()  # replicas of a module share it

    def watch(self, flags: Tensor) -> bool:
        """Tell whether any flag that has arrived is up, and send these on their way.

        Args:
            flags: boolean of any shape; up if one of them is True.
        """
        if torch.compiler.is_compiling() or type(flags) is not Tensor or flags.is_meta:
            return False
        if not flags.is_cuda:
            return bool(flags.any())
        with torch.cuda.device(flags.device):
            if torch.cuda.is_current_stream_capturing():
                return False
            is_up = self._has_arrived_up()
            self._send(flags)
            return is_up

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
