"""What a model looks at: words over the picture beside them, queries over their objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlp_fast.data.examples import Example
from vlp_fast.inference.results import ObjectAttention, TextAttention
from vlp_fast.viz.boxes import SCORE, corners_in, named, text_beside
from vlp_fast.viz.cards import Card, Group, cards_section
from vlp_fast.viz.inside import Inside, covered, named_words, queries_inside, words_inside
from vlp_fast.viz.inside import share_inside as _share
from vlp_fast.viz.looked import Looked, opened, share_of
from vlp_fast.viz.page import Section
from vlp_fast.viz.paint import below, beside, boxed, heated, sized
from vlp_fast.viz.tables import table

SHOWN, WORDS, OBJECTS = 3, 10, 4
"""Pictures, words of a text, and objects of a picture."""
MEASURED = 50
"""Pictures over which attention is held against boxes."""
SMALL = 128
"""Pixels of the longer side, of one of many pictures."""


def text_section(looked: Looked) -> Section:
    """Of some texts each word over the picture, and one word by layer and head.

    Raises:
        InputError: if no picture has a text.
    """
    every = looked.with_words(MEASURED)
    groups = [group for pair in every[:SHOWN] for group in _text_groups(looked, *pair)]
    inside = words_inside(looked.model, every, looked.class_names)
    what = "words that name what their picture is annotated with"
    return cards_section(
        title="What words look at",
        name="word_attention",
        groups=groups,
        said=SAID_OF_WORDS,
        behind=_measured(inside, f"{what}, of {len(every)} texts"),
    )


def object_section(looked: Looked) -> Section:
    """Of some pictures the queries that found objects, and one of them by layer and head."""
    every = [(e, text_beside(looked, text)) for e, text in looked.texts(MEASURED)]
    groups = [group for pair in every[:SHOWN] for group in _object_groups(looked, *pair)]
    inside = queries_inside(looked.model, every, SCORE)
    return cards_section(
        title="What object queries look at",
        name="object_attention",
        groups=groups,
        said=SAID_OF_QUERIES,
        behind=_measured(inside, f"queries that found an object in {len(every)} pictures"),
    )


EVENLY = (
    "Cells are drawn, and counted, as if they covered the picture evenly; the backbone's look up "
    "to half a cell further up and to the left.</p>"
)
SAID_OF_WORDS = (
    "<p>How much the encoder's row of each word takes from each cell of the picture: the mean over "
    "all layers and heads; the fullest colour is the cell that is looked at most. A percentage is "
    "how much of a word's attention is on the picture, the rest on the text; of that on the "
    "picture, how much is in the boxes of what the word names, and how large these are. Attention "
    "says what is mixed into a row, which need not be why the model says what it says. " + EVENLY
)
SAID_OF_QUERIES = (
    "<p>How much the decoder's query that found an object takes from each cell of the picture: the "
    "mean over all layers and heads; the fullest colour is the cell that is looked at most. "
    "Percentages: how much is in the object's box, and how large that is. " + EVENLY
)


def _text_groups(looked: Looked, example: Example, text: str) -> list[Group]:
    look = looked.model.attention(opened(example), text)
    assert isinstance(look, TextAttention)
    pixels, found = (
        sized(example.pixels, SMALL),
        named_words(look.words, example, looked.class_names),
    )
    boxes = dict(found)
    cards = [Card(pixels=pixels, described="the picture", title="the picture")]
    for place in [*range(1, len(look.words) - 1)][:WORDS]:
        weights, corners = look.weights[:, :, place], boxes.get(place)
        lines = [f"{share_of(weights.sum((-1, -2)).mean())} on the picture"]
        lines += [] if corners is None else [_told(weights.mean((0, 1)), corners)]
        cards.append(_heat_card(look.words[place], pixels, weights.mean((0, 1)), corners, lines))
    first = found[0][0] if found else _most_seen(look)
    by_head = _by_head(look.weights[:, :, first], sized(example.pixels, SMALL), boxes.get(first))
    title = f"{look.words[first]!r} by layer and head"
    return [Group(heading=text, cards=cards, columns=6), _one(by_head, title, look.weights)]


def _object_groups(looked: Looked, example: Example, text: str | None) -> list[Group]:
    look = looked.model.object_attention(opened(example), text, threshold=SCORE)
    assert isinstance(look, ObjectAttention)
    found, pixels = look.objects, sized(example.pixels, SMALL)
    corners = corners_in(found, example)
    cards = [Card(pixels=boxed(pixels, corners), described="the boxes", title="what is found")]
    for place in range(min(len(found), OBJECTS)):
        weights = look.weights[:, :, place].mean((0, 1))
        lines = [_told(weights, corners[place : place + 1])]
        box = corners[place : place + 1]
        cards.append(_heat_card(f"{place + 1} {named(found, place)}", pixels, weights, box, lines))
    heading = text or ", ".join(found.labels) or "nothing is found"
    groups = [Group(heading=heading, cards=cards, columns=5)]
    if len(found):
        by_head = _by_head(look.weights[:, :, 0], pixels, corners[:1])
        title = f"the first ({found.labels[0]}) by layer and head"
        groups.append(_one(by_head, title, look.weights))
    return groups


def _heat_card(
    title: str,
    pixels: np.ndarray,
    weights: np.ndarray,
    corners: np.ndarray | None,
    lines: Sequence[str],
) -> Card:
    drawn = heated(pixels, weights)
    return Card(
        pixels=drawn if corners is None else boxed(drawn, corners, tags=False),
        described=f"the cells that {title} looks at",
        title=title,
        lines=tuple(lines),
    )


def _by_head(weights: np.ndarray, pixels: np.ndarray, corners: np.ndarray | None) -> np.ndarray:
    """(A, N, h, w) as one picture: a row for each layer, a column for each head."""
    rows = []
    for layer in weights:
        drawn = [heated(pixels, head) for head in layer]
        drawn = drawn if corners is None else [boxed(one, corners, tags=False) for one in drawn]
        rows.append(beside(drawn))
    return below(rows)


def _one(pixels: np.ndarray, title: str, weights: np.ndarray) -> Group:
    layers, heads = weights.shape[:2]
    down = "1 layer" if layers == 1 else f"{layers} layers, one below another"
    what = f"{down}; {heads} heads, side by side"
    card = Card(pixels=pixels, described=title, title=title, lines=(what,))
    return Group(heading="", cards=[card], columns=2)


def _told(weights: np.ndarray, corners: np.ndarray) -> str:
    inside = float(_share(weights, corners))
    area = float(covered(corners, weights.shape[-2:]).mean())
    return f"{share_of(inside)} in {share_of(area)} of the area"


def _most_seen(look: TextAttention) -> int:
    """The word that looks at the picture most."""
    seen = look.weights.sum((-1, -2)).mean((0, 1))[1:-1]
    return 1 + int(seen.argmax()) if len(seen) else 0


def _measured(inside: Inside | None, what: str) -> str:
    """A table: how much of the attention is inside of boxes, by layer."""
    if inside is None:
        return f"<p>Not held against boxes: there are no {what}.</p>"
    said = (
        f"<h3>Is it where the thing is?</h3><p>{inside.count} {what}. Boxes cover "
        f"{100 * inside.area:.1f} % of the picture; attention that does not know where the thing "
        "is would have that share inside of them.</p>"
    )
    head = ["layer", "inside, %", "the best head, %", "on the picture, %"]
    head += ["other words inside the same boxes, %"] if inside.others is not None else []
    rows = []
    for n, layer in enumerate(inside.inside):
        shares = [layer.mean(), layer.max(), inside.on_picture[n].mean()]
        shares += [] if inside.others is None else [inside.others[n].mean()]
        rows.append([str(n + 1), *(float(100 * share) for share in shares)])
    return said + table(head, rows)
