"""One full description a picture, and held-out pictures that descriptions tell apart.

A description names every object with size, colour and kind, the ground, and of two objects how they
stand to one another. Within a held-out split no description is true of another picture than its
own: whoever reads pictures and texts without a mistake finds every one of them.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from vlp_fast.data.randomness import generator
from vlp_fast.data.world.bounds import Bounds
from vlp_fast.data.world.sampling import sample_scene
from vlp_fast.data.world.scene import Scene, SceneObject
from vlp_fast.data.world.statements import Existence, Placement, Thing, things_of
from vlp_fast.errors import InputError

SPLITS = ("train", "train", "train", "train", "val", "test")
"""Of every six pictures."""
TRIES = 400
"""Scenes that are drawn for a held-out picture before there is said to be no other one."""

Description = Existence | Placement
_Key = tuple[str, str, str]


def split_of(index: int) -> str:
    """Returns the split of picture `index` (from 0)."""
    return SPLITS[index % len(SPLITS)]


def described_scenes(seed: int, images: int, bounds: Bounds) -> Iterator[tuple[Scene, str]]:
    """Yields scenes with their descriptions.

    Raises:
        InputError: if the bounds have no further picture that is told from those before it.
    """
    told = {"val": _Told(), "test": _Told()}
    for index in range(images):
        split = split_of(index)
        for attempt in range(TRIES):
            scene = sample_scene(seed, index, bounds, attempt=attempt)
            text = describe(scene, generator(seed, attempt, index, "description"))
            if split == "train" or told[split].add(scene, text):
                yield scene, " ".join(text.words())
                break
        else:
            raise InputError(
                f"make-world: no picture that a description tells from the {index // len(SPLITS)} "
                f"others of {split} was found; ask for fewer images, or for larger bounds"
            )


def describe(scene: Scene, rng: np.random.Generator) -> Description:
    """Returns all there is to say; of two objects, which comes first is drawn."""
    clear = scene.relations if len(scene.objects) == 2 else ()
    if not clear:
        things = tuple(_thing(item) for item in scene.objects)
        return Existence(things=things, background=scene.background)
    chosen = clear[int(rng.integers(len(clear)))]
    return Placement(
        subject=_thing(scene.objects[chosen.subject]),
        relation=chosen.name,
        reference=_thing(scene.objects[chosen.reference]),
        background=scene.background,
    )


class _Told:
    """Scenes that descriptions tell apart; found by ground and one object, which both must have."""

    def __init__(self) -> None:
        self._scenes: dict[_Key, list[Scene]] = defaultdict(list)
        self._texts: dict[_Key, list[Description]] = defaultdict(list)

    def add(self, scene: Scene, text: Description) -> bool:
        """Whether a scene is told from those before it; if so, it is one of them."""
        first = next(things_of(text))
        named = (scene.background, first.colour, first.kind)
        there = {(scene.background, item.colour, item.kind) for item in scene.objects}
        if any(text.holds(other) for other in self._scenes[named]):
            return False
        if any(other.holds(scene) for key in there for other in self._texts[key]):
            return False
        self._texts[named].append(text)
        for key in there:
            self._scenes[key].append(scene)
        return True


def _thing(item: SceneObject) -> Thing:
    return Thing(colour=item.colour, kind=item.kind, size=item.size)
