"""Pictures with what is said of them: as part of a page, and as one sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from vlp_fast.data.printable import printable
from vlp_fast.tasks.titles import wrapped
from vlp_fast.viz.page import Section, Sheet, picture
from vlp_fast.viz.paint import Pixels, png_of

WIDTH = 12.8
"""Inches of a sheet."""
CHARACTERS = 13.0
"""Of text, in an inch."""
LINES = 14
"""Of text below a picture."""
TEXT, HEADING, GAP = 0.165, 0.4, 0.12
"""Inches that a line of text and a heading are high, and between pictures."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Card:
    """A picture and some lines.

    Attributes:
        pixels: (H, W, 3) uint8.
        described: what is seen, for who does not see it.
        title: above the lines; "" for none.
        lines: texts below the picture, from models and strangers.
    """

    pixels: Pixels
    described: str
    title: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Cards with a heading.

    Attributes:
        heading: of them; "" for none.
        cards: in their order.
        columns: beside one another on a sheet; wide pictures have fewer.
    """

    heading: str
    cards: Sequence[Card]
    columns: int = 4


def cards_section(
    *, title: str, name: str, groups: Sequence[Group], said: str = "", behind: str = ""
) -> Section:
    """A part of a page that shows groups of cards, and one below another the same on a sheet.

    Args:
        title: its heading.
        name: of the sheet's file, without an ending.
        groups: of cards.
        said: markup, ours, in front of them.
        behind: markup, ours, behind them.
    """
    body = "\n".join([said, *map(_html, groups), behind])
    return Section(title=title, body=body, sheet=_sheet(name, title, groups))


def _html(group: Group) -> str:
    kind = "cards broad" if group.columns < 4 else "cards small" if group.columns > 4 else "cards"
    heading = f"<h3>{escape(printable(group.heading))}</h3>\n" if group.heading else ""
    return f'{heading}<div class="{kind}">{"".join(map(_figure, group.cards))}</div>'


def _figure(card: Card) -> str:
    title = f"<b>{escape(printable(card.title))}</b>" if card.title else ""
    lines = "".join(f"<span>{escape(printable(line))}</span>" for line in card.lines)
    image = picture(png_of(card.pixels), printable(card.described))
    return f"<figure>{image}<figcaption>{title}{lines}</figcaption></figure>"


def _sheet(name: str, title: str, groups: Sequence[Group]) -> Sheet | None:
    rows = [_Row(group, place) for group in groups for place in _starts(group)]
    if not rows:
        return None
    height = HEADING + sum(row.height for row in rows)
    return Sheet(name=name, size=(WIDTH, height), draw=_drawn(title, rows))


def _starts(group: Group) -> range:
    return range(0, len(group.cards), group.columns)


@dataclass(frozen=True)
class _Row:
    """Cards side by side on a sheet: those of a group from a place on."""

    group: Group
    place: int

    @property
    def cards(self) -> Sequence[Card]:
        return self.group.cards[self.place : self.place + self.group.columns]

    @property
    def heading(self) -> str:
        return wrapped(self.group.heading, 140, 2) if self.place == 0 else ""

    @property
    def room(self) -> float:
        """Inches that a card is wide, and half of a gap on either side."""
        return WIDTH / self.group.columns

    @property
    def tallest(self) -> float:
        """Inches that its tallest picture needs."""
        shapes = [card.pixels.shape for card in self.cards]
        return float(max(height / width for height, width, _ in shapes)) * (self.room - GAP)

    @property
    def height(self) -> float:
        """Inches that it needs, its heading and the lines below its pictures included."""
        lines = max(len(self.lines(card)) for card in self.cards)
        return HEADING * bool(self.heading) + self.tallest + TEXT * lines + 2 * GAP

    def lines(self, card: Card) -> list[str]:
        """What stands below a card."""
        texts = [text for text in (card.title, *card.lines) if text]
        width = int(CHARACTERS * self.room)
        lines = [line for text in texts for line in wrapped(text, width, 3).split("\n")]
        return lines if len(lines) <= LINES else [*lines[: LINES - 1], "..."]


def _drawn(title: str, rows: Sequence[_Row]) -> Callable[[Any], None]:
    """Draws rows from the top down; places are in inches, for so is what text needs."""

    def draw(figure: Any) -> None:
        figure.set_layout_engine("none")
        height = figure.get_size_inches()[1]
        figure.text(GAP / WIDTH, 1 - GAP / height, title, fontsize=13, va="top", weight="bold")
        top = height - HEADING
        for row in rows:
            if row.heading:
                figure.text(GAP / WIDTH, top / height, row.heading, fontsize=11, va="top")
            _draw_row(figure, row, top - HEADING * bool(row.heading), height)
            top -= row.height

    return draw


def _draw_row(figure: Any, row: _Row, top: float, height: float) -> None:
    width = row.room - GAP
    for number, card in enumerate(row.cards):
        left, tall = GAP / 2 + number * row.room, card.pixels.shape[0] / card.pixels.shape[1]
        place = (left, top - tall * width, width, tall * width)
        sizes = (WIDTH, height) * 2
        axis = figure.add_axes([x / size for x, size in zip(place, sizes, strict=True)])
        axis.imshow(card.pixels, aspect="auto")
        axis.axis("off")
        below = (top - row.tallest - GAP / 2) / height
        figure.text(left / WIDTH, below, "\n".join(row.lines(card)), fontsize=9, va="top")
