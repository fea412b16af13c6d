"""Cards on a page and on a sheet: nothing of a stranger's is markup, nothing lies on another."""

from itertools import combinations

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot

from vlp_fast.viz.cards import LINES, Card, Group, cards_section

BAD = '<script>alert("1")</script>'


def card(height: int = 20, width: int = 30, lines: int = 2, title: str = "a title") -> Card:
    pixels = np.zeros((height, width, 3), np.uint8)
    texts = tuple(f"line {n} of some words that may need more than one row" for n in range(lines))
    return Card(pixels=pixels, described="a picture", title=title, lines=texts)


def test_texts_are_no_markup() -> None:
    told = Card(
        pixels=np.zeros((4, 4, 3), np.uint8), described=BAD, title=BAD, lines=(BAD, "\ud800")
    )
    groups = [Group(heading=BAD, cards=[told])]
    body = cards_section(title="t", name="n", groups=groups, said="<p>ours</p>").body
    assert "<script" not in body
    assert body.count("&lt;script&gt;") == 4
    assert "<p>ours</p>" in body


def test_nothing_on_a_sheet_lies_on_another_or_outside() -> None:
    """Pictures of all shapes and texts of all lengths, in rows of their own."""
    groups = [
        Group(heading="one " * 30, cards=[card(lines=n, title="") for n in (0, 5, 1)], columns=2),
        Group(heading="", cards=[card(40, 10), card(10, 40), card(lines=40)], columns=3),
        Group(heading="last", cards=[card(lines=3)] * 7, columns=6),
    ]
    sheet = cards_section(title="a sheet", name="n", groups=groups).sheet
    assert sheet is not None
    figure = pyplot.figure(figsize=sheet.size, layout="constrained")
    sheet.draw(figure)
    figure.canvas.draw()
    assert len(figure.axes) == 13
    boxes = [axis.get_window_extent() for axis in figure.axes]
    boxes += [text.get_window_extent() for text in figure.texts if text.get_text()]
    width, height = figure.canvas.get_width_height()
    for box in boxes:
        assert -1 <= box.x0 < box.x1 <= width + 1
        assert -1 <= box.y0 < box.y1 <= height + 1
    for one, other in combinations(boxes, 2):
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        up = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert min(across, up) < 3
    for axis in figure.axes:  # as wide for its height as its picture
        box, pixels = axis.get_window_extent(), axis.images[0].get_array()
        shape = pixels.shape
        assert abs(box.width / box.height - shape[1] / shape[0]) < 0.02 * shape[1] / shape[0]
    longest = max(text.get_text().count("\n") + 1 for text in figure.texts)
    assert longest == LINES
    pyplot.close(figure)


def test_without_cards_there_is_no_sheet() -> None:
    section = cards_section(title="t", name="n", groups=[Group(heading="", cards=[])])
    assert section.sheet is None
