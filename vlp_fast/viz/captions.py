"""Captions that beam search weighs against one another, beside those of people."""

from __future__ import annotations

from html import escape

from vlp_fast.data.printable import printable
from vlp_fast.inference.results import Written
from vlp_fast.viz.cards import Card, Group, cards_section
from vlp_fast.viz.looked import Looked, opened
from vlp_fast.viz.page import Section
from vlp_fast.viz.paint import sized

SHOWN, BEAMS, PEOPLE = 8, 4, 5
"""Pictures, captions of each that are written, and of those that people wrote."""


def captions_section(looked: Looked) -> Section:
    """Pictures with all captions of the search, with log P and what they are ranked by."""
    cards = []
    for example, _ in looked.texts(SHOWN):
        texts = looked.model.captions(opened(example), beams=BEAMS)
        people = [f"people: {text}" for text in dict.fromkeys(example.captions)][:PEOPLE]
        written = [_told(one) for one in texts if isinstance(one, Written)]
        cards.append(
            Card(
                pixels=sized(example.pixels),
                described="a picture that captions are written about",
                lines=(*written, *people),
            )
        )
    alpha = getattr(looked.task.settings, "alpha", 0.9)
    said = (
        f"<p>All {BEAMS} captions of beam search with {BEAMS} beams, the best first: its score, "
        "log P / ((5 + n) / 6)<sup>"
        f"{escape(printable(str(alpha)))}</sup> of n words, and log P.</p>"
    )
    groups = [Group(heading="", cards=cards)]
    return cards_section(title="Captions written", name="captions", groups=groups, said=said)


def _told(one: Written) -> str:
    text = one.text or "(no word)"
    return f"{one.score:.2f} ({one.log_probability:.2f}) {text}{'' if one.ended else ' ... (cut)'}"
