"""The figures of metrics.jsonl for TensorBoard, where somebody wants them there as well."""

from __future__ import annotations

from pathlib import Path

from vlp_fast.errors import InputError
from vlp_fast.tasks.task import Figures

FOLDER = "tensorboard"


class TensorBoard:
    """Writes figures into a run folder's `tensorboard`.

    Args:
        folder: the run folder.
        start: the step that the run goes on from; what is there of later ones is passed over.

    Raises:
        InputError: if TensorBoard is not installed.
    """

    def __init__(self, folder: Path, start: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError(
                f"--train.tensorboard: TensorBoard cannot be imported ({error}); "
                "`pip install 'vlp-fast[log]'`, or do without: metrics.jsonl has the same figures"
            ) from None
        self._writer = SummaryWriter(str(folder / FOLDER), purge_step=start + 1)

    def write(self, step: int, kind: str, figures: Figures) -> None:
        """Figures of a step, under `kind/name`."""
        for name, value in figures.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
