"""What `accelerate` made of a model: a line a module, and the way back."""

from collections.abc import Sequence
from dataclasses import dataclass

from vlp_fast.swaps.swap import Change, undo_all


@dataclass(frozen=True)
class Line:
    """What became of one module, or why it was left alone."""

    path: str
    """Of the module in the model, empty for the model itself."""
    module: str
    """Name of its class, as it was."""
    change: Change | None
    """None if it was left alone."""
    reason: str = ""
    """Why it was left alone."""

    @property
    def words(self) -> str:
        """What became of it, with what happened since."""
        if self.change is None:
            return f"left: {self.reason}"
        since = self.change.since()
        return f"{self.change.became}; {since}" if since else self.change.became


class Report:
    """What each module became that `accelerate` knows, or why it was left alone.

    `str(report)` is a table. It is read anew each time: it also says which calls went to the
    original code since, and why.

    Attributes:
        lines: of all modules that are known, in the order of `named_modules`.
        num_modules: how many modules the model has.
    """

    def __init__(self, lines: Sequence[Line], num_modules: int) -> None:
        self.lines = tuple(lines)
        self.num_modules = num_modules
        self._is_applied = True
        self._applied = [line.change for line in lines if line.change is not None]
        self._undos = [change.undo for change in self._applied]

    @property
    def swapped(self) -> dict[str, str]:
        """What became of the modules that were swapped, by path; empty after `restore`."""
        still = self._applied[: len(self._undos)]
        return {line.path: line.words for line in self.lines if line.change in still}

    @property
    def left(self) -> dict[str, str]:
        """Why modules that are known were left alone, by path."""
        return {line.path: line.reason for line in self.lines if line.change is None}

    def restore(self) -> None:
        """Gives the old modules back: parameters and buffers as they are by now.

        A second call does nothing.

        Raises:
            InputError: something else has changed a module since, `fully_shard` for example; then
                it and modules before it in the order of `lines` still run on ours. Undo that, and
                call again.
        """
        undo_all(self._undos)
        self._is_applied = False

    def __bool__(self) -> bool:
        """Whether anything runs on ours."""
        return bool(self.swapped)

    def __str__(self) -> str:
        """The table."""
        rows = [("module", "was", "is now")]
        rows += [(line.path or "(model)", line.module, line.words) for line in self.lines]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        table = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows]
        summary = f"{len(self.swapped)} of {self.num_modules} modules run on vlp_fast"
        return "\n".join([*table, summary if self._is_applied else "restored: all as it was"])
