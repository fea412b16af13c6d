"""The figures of metrics.jsonl for TensorBoard, where somebody wants them there as well."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vlp_fast.errors import InputError

if TYPE_CHECKING:
    from vlp_fast.tasks.task import Figures

FOLDER = "tensorboard"


def check_tensorboard() -> None:
    """Refuse to write for TensorBoard where it is not installed; torch-free.

    Raises:
        InputError: with what to install.
    """
    if find_spec("tensorboard") is None:
        raise _missing("No module named 'tensorboard'")


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
            raise _missing(error) from None
        self._writer = SummaryWriter(str(folder / FOLDER), purge_step=start + 1)

    def write(self, step: int, kind: str, figures: Figures) -> None:
        """Figures of a step, under `kind/name`."""
        for name, value in figures.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def _missing(why: object) -> InputError:
    return InputError(
        f"--train.tensorboard: TensorBoard cannot be imported ({why}); "
        "`pip install 'vlp-fast[log]'`, or do without: metrics.jsonl has the same figures"
    )
