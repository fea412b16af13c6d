"""A warning about values on the device that does not wait for them: it comes one step later."""

import warnings

from torch import Tensor

from vlp_fast.layers.late_flag import LateFlag


class LateWarning:
    """Warns when a flag was up, as soon as that is known without a wait: see `LateFlag`.

    Args:
        message: of the warning, a RuntimeWarning.
        stacklevel: how many calls above `watch` the line is that the warning names.
    """

    def __init__(self, message: str, stacklevel: int = 1) -> None:
        self.message = message
        self.stacklevel = stacklevel
        self._flag = LateFlag()

    def watch(self, flags: Tensor) -> None:
        """Look at flags that have arrived, and send these, boolean of any shape, on their way."""
        if self._flag.watch(flags):
            warnings.warn(self.message, RuntimeWarning, stacklevel=self.stacklevel + 1)

    def __reduce__(self) -> tuple[type["LateWarning"], tuple[str, int]]:
        """A copy knows nothing of what is on its way: events can be neither copied nor pickled."""
        return LateWarning, (self.message, self.stacklevel)
