"""A warning about values on the device that does not wait for them: it comes one step later."""

import warnings

import torch
from torch import Tensor


class LateWarning:
    """Warns when a flag was up, as soon as that is known without a wait.

    On a CPU that is at once. On a GPU the flag is copied to the host behind the step that made it,
    and looked at in the next call if the copy has arrived, otherwise in a later one. Inside of
    `torch.compile`, of a CUDA graph's capture and of fake tensors it keeps silent.
    """

    def __init__(self, message: str) -> None:
        self.message = message
        self._arriving: list[tuple[Tensor, torch.cuda.Event]] = []

    def watch(self, flags: Tensor) -> None:
        """Look at flags that have arrived, and send these, boolean of any shape, on their way."""
        if torch.compiler.is_compiling() or type(flags) is not Tensor or flags.is_meta:
            return
        if not flags.is_cuda:
            self._tell(flags.any())
            return
        if torch.cuda.is_current_stream_capturing():
            return
        while self._arriving and self._arriving[0][1].query():
            self._tell(self._arriving.pop(0)[0])
        on_host = torch.empty((), dtype=torch.bool, pin_memory=True)
        on_host.copy_(flags.any(), non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._arriving.append((on_host, event))

    def _tell(self, is_up: Tensor) -> None:
        if is_up:
            warnings.warn(self.message, RuntimeWarning, stacklevel=4)

    def __reduce__(self) -> tuple[type["LateWarning"], tuple[str]]:
        """A copy knows nothing of what is on its way: events can be neither copied nor pickled."""
        return LateWarning, (self.message,)
