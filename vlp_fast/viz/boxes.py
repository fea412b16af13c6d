"""Boxes that are found in held-out pictures, with name, attribute and score, beside the truth."""

from __future__ import annotations

import numpy as np

from vlp_fast.data.examples import Example
from vlp_fast.inference.results import Objects
from vlp_fast.viz.cards import Card, Group, cards_section
from vlp_fast.viz.looked import Looked, corners_of, opened
from vlp_fast.viz.page import Section
from vlp_fast.viz.paint import beside, boxed, sized

SHOWN = 6
SCORE = 0.5
"""Objects of at least this score are shown."""
NAMED = 6
"""Lines of objects below a picture."""


def boxes_section(looked: Looked) -> Section:
    """Pictures with what is found on the left, with what is annotated on the right."""
    cards = []
    for example, text in looked.texts(SHOWN):
        found = looked.model.detect(opened(example), text_beside(looked, text), threshold=SCORE)
        assert isinstance(found, Objects)
        cards.append(_card(looked, example, found))
    said = (
        f"<p>Left: objects with a score of {SCORE} or more, the surest first. Right: what is "
        "annotated.</p>"
    )
    groups = [Group(heading="", cards=cards, columns=3)]
    return cards_section(title="Boxes found", name="boxes", groups=groups, said=said)


def text_beside(looked: Looked, text: str) -> str | None:
    """The text that objects are looked for beside: a caption where the run has learnt that."""
    texts = getattr(looked.task.settings, "texts", ())
    return text if texts[:1] == ("own",) and text else None


def named(found: Objects, place: int) -> str:
    """An object in words."""
    kinds = found.attributes[place : place + 1]
    return f"{' '.join((*kinds, found.labels[place]))} {found.scores[place]:.2f}"


def corners_in(found: Objects, example: Example) -> np.ndarray:
    """(n, 4) boxes in [0, 1] of the picture."""
    height, width = example.size
    corners: np.ndarray = found.boxes / np.array([width, height] * 2, np.float32)
    return corners


def _card(looked: Looked, example: Example, found: Objects) -> Card:
    pixels, truth = sized(example.pixels), _truth(looked, example)
    shown = [boxed(pixels, corners_in(found, example)), boxed(pixels, corners_of(example))]
    count = len(found)
    lines = [f"{n + 1} {named(found, n)}" for n in range(min(count, NAMED))]
    lines += [f"and {count - NAMED} more"] if count > NAMED else []
    annotated = ", ".join(f"{n + 1} {words}" for n, words in enumerate(truth[:NAMED]))
    annotated += f" and {len(truth) - NAMED} more" if len(truth) > NAMED else ""
    return Card(
        pixels=beside(shown),
        described="a picture with the boxes that are found, and with those that are annotated",
        lines=(*(lines or ["nothing is found"]), f"truth: {annotated or 'nothing'}"),
    )


def _truth(looked: Looked, example: Example) -> list[str]:
    """The annotated objects in words."""
    attributes = looked.task.held_out.attribute_names
    words = []
    for label, kind in zip(example.labels.tolist(), example.attributes.tolist(), strict=True):
        names = ([attributes[kind]] if kind >= 0 else []) + [looked.class_names[label]]
        words.append(" ".join(names))
    return words
