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
TEXT = 0.165
"""Inches that a line of text is high."""


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
    wide = max((card.pixels.shape[1] / card.pixels.shape[0] for card in group.cards), default=1.0)
    kind = "cards broad" if wide > 1.6 else "cards"
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
    height = sum(row.height for row in rows) + 0.5
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
    def height(self) -> float:
        """Inches that it needs, its heading and the lines below its pictures included."""
        width = WIDTH / self.group.columns - 0.1
        shapes = [card.pixels.shape for card in self.cards]
        tallest: float = max(height / across for height, across, _ in shapes) * width
        lines = max(len(self.lines(card)) for card in self.cards)
        return tallest + TEXT * lines + (0.4 if self.heading else 0) + 0.15

    def lines(self, card: Card) -> list[str]:
        """What stands below a card."""
        width = int(CHARACTERS * WIDTH / self.group.columns)
        texts = [text for text in (card.title, *card.lines) if text]
        lines = [line for text in texts for line in wrapped(text, width, 3).split("\n")]
        return lines if len(lines) <= LINES else [*lines[: LINES - 1], "..."]


def _drawn(title: str, rows: Sequence[_Row]) -> Callable[[Any], None]:
    def draw(figure: Any) -> None:
        figure.suptitle(title, fontsize=13)
        heights = [row.height for row in rows]
        parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, row in zip(parts, rows, strict=True):
            if row.heading:
                part.suptitle(row.heading, fontsize=11, x=0.01, ha="left")
            axes = part.subplots(1, row.group.columns, squeeze=False)[0]
            for axis in axes:
                axis.axis("off")
            for axis, card in zip(axes, row.cards, strict=False):
                axis.imshow(card.pixels)
                axis.set_title("\n".join(row.lines(card)), fontsize=9, y=-0.02, va="top")

    return draw
