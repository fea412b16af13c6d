"""The drawn world: pictures of shapes with captions, boxes and attributes that are all true.

annotations.py  files of COCO, Karpathy, Visual Genome
bounds.py       what a world draws from
draw.py         from scene to picture
language.py     captions, and the truth of a text
layouts.py      the whole folder, written and read
sampling.py     random scenes
scene.py        what is in a picture, as data
shapes.py       silhouettes
statements.py   what can be said, and its truth
"""

from vlp_fast.data.world.language import (
    alternatives,
    captions,
    described_objects,
    determined_words,
    is_true,
    parse,
)
from vlp_fast.data.world.layouts import make_world, read_scenes
from vlp_fast.data.world.scene import Scene, SceneObject

__all__ = [
    "Scene",
    "SceneObject",
    "alternatives",
    "captions",
    "described_objects",
    "determined_words",
    "is_true",
    "make_world",
    "parse",
    "read_scenes",
]
