"""NLVR2's two figures: how many answers are right, and of how many groups all are.

Source: the official script; a group is what shares an identifier but for the pair's number.
"""

from __future__ import annotations

from vlp_fast.metrics.score import Figures, PointScore

_GROUP = "group "


class Consistency(PointScore):
    """Collects answers about statements."""

    def add(self, identifier: str, answer: bool, label: bool, *, group: str) -> None:
        """Count one statement about one pair.

        Args:
            identifier: of the example.
            answer: of the model.
            label: the truth.
            group: of the example; the same for all pairs that a sentence is shown with.
        """
        self.examples.add(identifier)
        is_right = int(answer == label)
        self._count("accuracy", is_right)
        self._count(_GROUP + group, is_right)

    @property
    def num_groups(self) -> int:
        """Groups that were seen, on all processes that were merged."""
        return len(self._groups())

    def figures(self) -> Figures:
        """Percent: "accuracy" of examples; "consistency", the share of groups without a mistake."""
        groups = self._groups()
        if not groups:
            return {}
        whole = sum(self._points[name] == self._possible[name] for name in groups)
        return {
            "accuracy": self._percent("accuracy"),
            "consistency": 100 * whole / len(groups),
        }

    def _groups(self) -> list[str]:
        return [name for name in self._possible if name.startswith(_GROUP)]
