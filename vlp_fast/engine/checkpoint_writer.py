"""Checkpoints are written by a thread while training goes on.

A step waits for a copy in memory. What the thread could not do is told to whoever asks for it or
waits for it next: a logged line, a save, the end of the run.
"""

from __future__ import annotations

import threading
from pathlib import Path

from torch import nn
from torch.optim import Optimizer

from vlp_fast.engine.checkpoint import save_checkpoint
from vlp_fast.engine.parameters import Parameters
from vlp_fast.engine.snapshot import HostMemory, Snapshot, Tensors
from vlp_fast.weights.checkpoints import State


class CheckpointWriter:
    """Writes the checkpoints of a run, one at a time.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._memory = HostMemory()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(
        self,
        step: int,
        model: nn.Module,
        optimizers: list[Optimizer],
        *,
        extra: State,
        keep: int,
        average: Tensors | None = None,
        parameters: Parameters | None = None,
    ) -> None:
        """Copy the state and begin to write it, when the checkpoint before is on disk.

        Args:
            step, keep: as `save_checkpoint` has them.
            model, optimizers, extra, average, parameters: as `HostMemory.take` has them; they may
                change at once.

        Raises:
            InputError: if the checkpoint before could not be written.
        """
        self.join()
        snapshot = self._memory.take(model, optimizers, extra, average, parameters)
        # A daemon: a second signal ends the process at once, whatever is being written.
        self._thread = threading.Thread(
            target=self._write, args=(step, snapshot, keep), name="checkpoint", daemon=True
        )
        self._thread.start()

    def join(self) -> None:
        """Wait until what was saved last is on disk.

        Raises:
            InputError: if it could not be written; once.
        """
        self.wait()
        self.check()

    def check(self) -> None:
        """Tell what went wrong by now, and do not wait.

        Raises:
            InputError: if what was saved last could not be written; once.
        """
        error, self._error = self._error, None
        if error is not None:
            raise error

    def wait(self) -> None:
        """Wait until nothing is being written; what went wrong is told by the next `check`."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self, step: int, snapshot: Snapshot, keep: int) -> None:
        try:
            save_checkpoint(self._folder, step, snapshot, keep=keep)
        except BaseException as error:
            self._error = error
