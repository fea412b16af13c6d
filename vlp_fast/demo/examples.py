"""Drawings and questions for a first look; the models that come with the package know them."""

from __future__ import annotations

from pathlib import Path

from vlp_fast.data.world.bounds import SMALL
from vlp_fast.data.world.draw import draw
from vlp_fast.data.world.sampling import sample_scene

SEED = 30
"""Of the world: no drawing that a shipped model has learnt from."""
COUNT = 8

WORDS = {
    "answer": (
        ("How many?", "How many objects are there?"),
        ("Background?", "What is in the background?"),
        ("A blue star?", "Is there a blue star?"),
        ("Circle's colour?", "What color is the circle?"),
    ),
    "match": (
        ("One or two?", "there is one object\nthere are two objects"),
        ("Colours", "a red object\na green object\na blue object\na yellow object"),
        ("Shapes", "a circle\na square\na triangle\na star"),
    ),
    "fill": (
        ("How many?", "there are [MASK] objects"),
        ("Colour", "there is a [MASK] object"),
        ("Colour and shape", "a [MASK] [MASK]"),
    ),
    "entails": (
        ("How many?", "There are two objects."),
        ("A blue star?", "There is a blue star."),
    ),
    "compare": (
        ("A circle in both?", "Both images show a circle."),
        ("How many?", "The left image shows two objects."),
    ),
}
"""Of each tool, what can be asked of any drawing, and what the page calls it; the first of them
stands there to begin with."""


def draw_examples(folder: Path) -> list[Path]:
    """Draw some pictures of the small world into a folder."""
    paths = [folder / f"drawing_{number + 1}.png" for number in range(COUNT)]
    for number, path in enumerate(paths):
        draw(sample_scene(SEED, number, SMALL)).save(path)
    return paths
