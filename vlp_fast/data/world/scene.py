"""The scene of one picture of the world: a data structure from which picture and statements derive.

Boxes are (left, top, right, bottom) in whole pixels, right and bottom exclusive, and tight around
the whole object, hidden parts included. Objects are ordered from back to front.

Relations come in two strengths. `relation` decides truth: of two objects, one stands in the
direction of the larger of their two offsets. `is_clear` is what captions state: plain to the eye.

What a scene may be is checked when it is made, also from a file: no picture and no mask of it is
larger than those of the world.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vlp_fast.data.world.shapes import HOLE, KINDS, TEXTURES, covered_pixels

COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan", "pink", "black")
SIZES = ("small", "medium", "large")
BACKGROUNDS = ("grass", "sand", "snow", "water")
RELATIONS = ("left", "right", "above", "below", "inside")
MAX_OBJECTS = 8

Box = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One object: four words, its box in pixels and how much lighter it is than its colour."""

    kind: str
    colour: str
    size: str
    texture: str
    box: Box
    shade: int  # added to red, green and blue, of 255

    def __post_init__(self) -> None:
        """Raises ValueError for a word that the world has not, or a box without extent."""
        known = (
            self.kind in KINDS
            and self.colour in COLOURS
            and self.size in SIZES
            and self.texture in TEXTURES
            and isinstance(self.shade, int)
            and len(self.box) == 4
        )
        if not known or self.width < 1 or self.height < 1:
            raise ValueError(f"SceneObject: received {asdict(self)}, expected words of the world")

    @property
    def width(self) -> int:
        """Pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.box[3] - self.box[1]


@dataclass(frozen=True, kw_only=True)
class Clutter:
    """Faint marks of the ground: how many, and the key of the generator that places them."""

    marks: int
    key: int


@dataclass(frozen=True, kw_only=True)
class Relation:
    """Object `subject` is `name` (of) object `reference`; both are indices into the objects."""

    subject: int
    name: str
    reference: int


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything there is to know about one picture; `width` and `height` in pixels."""

    image_id: int
    width: int
    height: int
    background: str
    shade: int  # added to the background's red, green and blue, of 255
    clutter: Clutter
    objects: tuple[SceneObject, ...]

    def __post_init__(self) -> None:
        """Raises ValueError for what no picture of the world has."""
        numbers = (self.image_id, self.width, self.height, self.shade)
        marks, key = self.clutter.marks, self.clutter.key
        possible = (
            all(isinstance(n, int) and -(2**63) <= n < 2**63 for n in (*numbers, marks, key))
            and is_possible_size((self.width, self.height))
            and self.background in BACKGROUNDS
            and 0 <= marks <= self.width * self.height
            and len(self.objects) <= MAX_OBJECTS
            and all(_is_in_picture(item, self.width, self.height) for item in self.objects)
        )
        if not possible:
            raise ValueError(
                f"Scene: received image {self.image_id} of {self.width}x{self.height} pixels with "
                f"{len(self.objects)} objects and {marks} marks on {self.background}, expected a "
                f"picture of 64 to 1024 pixels a side with up to {MAX_OBJECTS} objects inside"
            )

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Every clear relation between two objects, in the order of subject and reference."""
        return tuple(self._clear_relations())

    def _clear_relations(self) -> Iterator[Relation]:
        for i, subject in enumerate(self.objects):
            for j, reference in enumerate(self.objects):
                name = relation(subject, reference) if i != j else None
                if name is not None and is_clear(subject, name, reference):
                    yield Relation(subject=i, name=name, reference=j)


def is_possible_size(size: tuple[int, int]) -> bool:
    """Returns whether a picture (width, height) has room for eight objects and is not enormous."""
    return min(size) >= 64 and max(size) <= min(1024, 2 * min(size))


def relation(subject: SceneObject, reference: SceneObject) -> str | None:
    """Returns where `subject` is, seen from `reference`; None where no word of `RELATIONS` holds.

    At most one word holds: "inside" for an object within the hole of a ring, else the direction of
    the larger offset between the two centres. A ring around the other object, or a tie, has none.
    """
    if _is_inside(subject, reference):
        return "inside"
    across = subject.box[0] + subject.box[2] - reference.box[0] - reference.box[2]
    down = subject.box[1] + subject.box[3] - reference.box[1] - reference.box[3]
    if _is_inside(reference, subject) or abs(across) == abs(down):
        return None
    if abs(across) > abs(down):
        return "left" if across < 0 else "right"
    return "above" if down < 0 else "below"


def is_clear(subject: SceneObject, name: str, reference: SceneObject) -> bool:
    """Returns whether a true relation is plain to see: boxes apart on its axis, or "inside"."""
    if name == "inside":
        return True
    across = abs(subject.box[0] + subject.box[2] - reference.box[0] - reference.box[2])
    down = abs(subject.box[1] + subject.box[3] - reference.box[1] - reference.box[3])
    if name in ("left", "right"):
        return across >= 1.5 * down and across >= subject.width + reference.width
    return down >= 1.5 * across and down >= subject.height + reference.height


def hidden_pixels(back: SceneObject, front: SceneObject) -> int:
    """Returns how many pixels of `back` the object `front` covers."""
    left, top = max(back.box[0], front.box[0]), max(back.box[1], front.box[1])
    right, bottom = min(back.box[2], front.box[2]), min(back.box[3], front.box[3])
    if left >= right or top >= bottom:
        return 0
    views = (
        covered_pixels(item.kind, item.width, item.height)[
            top - item.box[1] : bottom - item.box[1], left - item.box[0] : right - item.box[0]
        ]
        for item in (back, front)
    )
    return int((next(views) & next(views)).sum())


def area(item: SceneObject) -> int:
    """Returns how many pixels the whole object covers."""
    return int(covered_pixels(item.kind, item.width, item.height).sum())


def hole(ring: SceneObject) -> tuple[float, float, float, float]:
    """Returns the box (left, top, right, bottom) in pixels of the hole of a ring."""
    across, down = 0.5 * (1 - HOLE) * ring.width, 0.5 * (1 - HOLE) * ring.height
    left, top, right, bottom = ring.box
    return left + across, top + down, right - across, bottom - down


def scene_to_dict(scene: Scene) -> dict[str, Any]:
    """Returns the scene as plain dictionaries, lists and numbers, ready for json."""
    return asdict(scene)


def scene_from_dict(state: Mapping[str, Any]) -> Scene:
    """Inverse of `scene_to_dict`.

    Raises:
        KeyError, TypeError, ValueError: a field is missing, unknown, or not a word of the world.
    """
    objects = (
        SceneObject(**{**item, "box": tuple(int(edge) for edge in item["box"])})
        for item in state["objects"]
    )
    return Scene(**{**state, "clutter": Clutter(**state["clutter"]), "objects": tuple(objects)})


def _is_in_picture(item: SceneObject, width: int, height: int) -> bool:
    left, top, right, bottom = item.box
    return left >= 0 and top >= 0 and right <= width and bottom <= height


def _is_inside(subject: SceneObject, reference: SceneObject) -> bool:
    """Whether the box of `subject` lies in the hole's box and touches nothing of the ring."""
    if reference.kind != "ring":
        return False
    left, top, right, bottom = hole(reference)
    within = (
        subject.box[0] >= left - 1
        and subject.box[1] >= top - 1
        and subject.box[2] <= right + 1
        and subject.box[3] <= bottom + 1
    )
    return within and hidden_pixels(reference, subject) == 0
