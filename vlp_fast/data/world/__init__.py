"""The drawn world: pictures of shapes with captions, boxes and attributes that are all true.

scene        what is in a picture, as data           bounds       what a world draws from
sampling     random scenes, within bounds
draw         scene -> picture                        shapes       the masks of the objects
statements   what can be said, and its truth         language     captions, truth of a text
annotations  files of COCO and Visual Genome         layouts      the whole folder
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
