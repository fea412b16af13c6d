"""SNLI-VE's figure: the share of right labels, in all and for each true label."""

from __future__ import annotations

from vlp_fast.metrics.score import Figures, PointScore


class ClassAccuracy(PointScore):
    """Collects labels by name, for their numbers have no standard.

    Args:
        labels: their names.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        super().__init__()
        self._labels = labels

    def add(self, key: int | str, answer: str, label: str) -> None:
        """Count one example.

        Raises:
            ValueError: if a label has none of the names.
        """
        for name in (answer, label):
            if name not in self._labels:
                raise ValueError(
                    f"ClassAccuracy: received label {name!r}, expected one of {self._labels}"
                )
        self.examples.add(key)
        self._count("accuracy", int(answer == label))
        self._count(f"accuracy, {label}", int(answer == label))

    def figures(self) -> Figures:
        """Percent: "accuracy", and "accuracy, NAME" among the examples whose label it is."""
        names = ("accuracy", *(f"accuracy, {label}" for label in self._labels))
        return {name: self._percent(name) for name in names if self._possible[name]}
