"""What a world draws from: how large pictures and objects are, how many objects, of which words.

`WORLD` has everything. `SMALL` is for minutes instead of half an hour: pictures of a third of the
pixels with one or two objects of four kinds and four colours, told apart at a glance.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vlp_fast.data.world.scene import COLOURS, MAX_OBJECTS, SIZES, is_possible_size
from vlp_fast.data.world.shapes import KINDS

Sides = Mapping[str, tuple[float, float]]


def _world_sides() -> Sides:
    return {"small": (0.135, 0.16), "medium": (0.215, 0.255), "large": (0.335, 0.385)}


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What scenes are drawn from.

    Attributes:
        sizes: (width, height) of pictures in pixels, one of which is chosen for each.
        max_objects: objects in a picture at the most, 1 to 8.
        kinds: kinds of objects, of the world's.
        colours: colours of objects, of the world's.
        object_sides: of each size word the lowest and highest side of an object over the square
            root of the picture's area; wide gaps between the words.
    """

    sizes: tuple[tuple[int, int], ...] = ((112, 112), (96, 128), (128, 96))  # of about one area
    max_objects: int = MAX_OBJECTS
    kinds: tuple[str, ...] = KINDS
    colours: tuple[str, ...] = COLOURS
    object_sides: Sides = field(default_factory=_world_sides)

    def __post_init__(self) -> None:
        """Raises ValueError for what no picture of the world can have."""
        if not self.sizes or not all(is_possible_size(size) for size in self.sizes):
            raise ValueError(
                f"Bounds: received picture sizes {self.sizes}, expected (width, height) of 64 to "
                "1024 pixels, neither more than twice the other"
            )
        words = {*self.kinds} <= {*KINDS} and {*self.colours} <= {*COLOURS}
        if not (words and self.kinds and self.colours and 1 <= self.max_objects <= MAX_OBJECTS):
            raise ValueError(
                f"Bounds: received {self.max_objects} objects of {self.kinds} in {self.colours}, "
                f"expected 1 to {MAX_OBJECTS} and words of the world"
            )
        if {*self.object_sides} != {*SIZES}:
            raise ValueError(
                f"Bounds: received sides of {[*self.object_sides]}, expected those of {SIZES}"
            )


WORLD = Bounds()
SMALL = Bounds(
    sizes=((64, 64),),
    max_objects=2,
    kinds=KINDS[:4],
    colours=COLOURS[:4],
    object_sides={"small": (0.20, 0.23), "medium": (0.30, 0.34), "large": (0.42, 0.48)},
)
BOUNDS = {"world": WORLD, "small": SMALL}
"""By the name that the command line knows them under."""
