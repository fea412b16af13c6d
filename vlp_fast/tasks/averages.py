"""Running means of what a step produces, kept on the device until somebody looks."""

from __future__ import annotations

from torch import Tensor

from vlp_fast.tasks.step import StepOutput


class Averages:
    """Sums of numerators and denominators by name; `means` is the only call that waits."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, Tensor | int]] = {}

    def __bool__(self) -> bool:
        return bool(self._sums)

    def copy(self) -> Averages:
        """The same sums; what is added to either is not added to the other."""
        other = Averages()
        other._sums = dict(self._sums)
        return other

    def add(self, name: str, value: Tensor, count: Tensor | int = 1) -> None:
        """Add a scalar that stands for `count` things."""
        value = value.detach().double()
        if name in self._sums:
            sum_, total = self._sums[name]
            value, count = sum_ + value, total + count
        self._sums[name] = (value, count)

    def add_output(self, output: StepOutput) -> None:
        """Add every loss and every accuracy; a loss weighs as many rows as it was taken over."""
        self.add("loss", output.total)
        for name, loss in (*output.losses.items(), *output.parts.items()):
            rows = output.counts[name][1].detach().double() if name in output.counts else 1
            self.add(name, loss.detach() * rows, rows)
        for name, (right, count) in output.counts.items():
            self.add(f"{name}_accuracy", right, count.detach())

    def means(self) -> dict[str, float]:
        """The quotients, on the host; what stands for nothing has none."""
        sums = {name: (float(a), float(n)) for name, (a, n) in self._sums.items()}
        return {name: a / n for name, (a, n) in sums.items() if n}
