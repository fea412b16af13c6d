"""Captions of the drawn world, which knows what is true: are colours and shapes in the picture?"""

from __future__ import annotations

from vlp_fast.data.world.language import described_objects, parse
from vlp_fast.data.world.scene import Scene


class CaptionTruth:
    """Counts captions whose colour-and-shape pairs are in the picture.

    A caption of the ground or of a number names no pair and does not count; one that is no
    sentence of the world's language is wrong.
    """

    def __init__(self) -> None:
        self.all_right = self.some_right = self.count = 0

    def add(self, scene: Scene, text: str) -> None:
        """Count a caption of a scene."""
        pairs = described_objects(text)
        if not pairs and parse(text) is not None:
            return
        present = {(thing.colour, thing.kind) for thing in scene.objects}
        right = [pair in present for pair in pairs] or [False]
        self.all_right += all(right)
        self.some_right += any(right)
        self.count += 1

    def counts(self) -> list[tuple[str, int, int]]:
        """Name, right captions and those that name a pair; nothing where none does."""
        counts = {
            "caption_all_pairs_right": self.all_right,
            "caption_some_pair_right": self.some_right,
        }
        return [(name, right, self.count) for name, right in counts.items() if self.count]

    def figures(self) -> dict[str, float]:
        """Shares of the captions that name a pair."""
        return {name: right / count for name, right, count in self.counts()}
