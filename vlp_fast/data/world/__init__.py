"""The drawn world: pictures of shapes with captions, boxes and attributes that are all true.

annotations.py    files of COCO, Karpathy, Visual Genome
balance.py        what is asked of all that could be
bounds.py         what a world draws from
descriptions.py   one full description a picture, held-out pictures told apart
draw.py           from scene to picture
entailment.py     hypotheses: entailed, contradicted, left open
groups.py         objects that have something in common
language.py       captions, and the truth of a text
layouts.py        the whole folder, written and read
nlvr2_files.py    files of NLVR2
pairs.py          claims about two pictures
people.py         ten answers to a question
questions.py      what can be asked of a scene
sampling.py       random scenes
scene.py          what is in a picture, as data
shapes.py         silhouettes
snli_ve_files.py  files of SNLI-VE
statements.py     what captions say, and its truth
vqa_files.py      files of VQA v2
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
