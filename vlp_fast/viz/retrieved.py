"""What is found for held-out captions and pictures among some others, the best first."""

from __future__ import annotations

import math

import numpy as np

from vlp_fast.data.examples import Example
from vlp_fast.viz.cards import Card, Group, cards_section
from vlp_fast.viz.looked import Looked, opened
from vlp_fast.viz.page import Section
from vlp_fast.viz.paint import sized

PICTURES = 40
"""That are ranked, each with a caption."""
QUERIES, SHOWN, TEXTS = 3, 4, 5
"""Captions and pictures that are asked with, and what is shown of what is found."""


def retrieved_section(looked: Looked) -> Section:
    """For some captions the best pictures, for some pictures the best captions.

    Raises:
        InputError: if no picture has a caption.
    """
    pairs = looked.with_words(PICTURES)
    examples, texts = [e for e, _ in pairs], [text for _, text in pairs]
    shares = looked.model.match([opened(e) for e in examples], texts)
    odds = np.vectorize(_log_odds)(np.atleast_2d(shares))
    groups = [_for_text(examples, texts, odds, place) for place in range(len(texts))[:QUERIES]]
    groups.append(_for_pictures(examples, texts, odds))
    said = (
        f"<p>Among {len(examples)} held-out pictures and a caption of each, ranked by the log odds "
        "that the two belong together.</p>"
    )
    return cards_section(title="Retrieved", name="retrieval", groups=groups, said=said)


def _for_text(examples: list[Example], texts: list[str], odds: np.ndarray, place: int) -> Group:
    scores = odds[:, place]
    order = np.argsort(-scores, kind="stable")
    rank = int((scores > scores[place]).sum()) + 1
    cards = [
        Card(
            pixels=sized(examples[n].pixels),
            described=f"the picture at place {at + 1}",
            title=f"{scores[n]:+.2f}" + (", its own" if n == place else ""),
        )
        for at, n in enumerate(order[:SHOWN].tolist())
    ]
    return Group(heading=f"{texts[place]} (its own is at place {rank})", cards=cards)


def _for_pictures(examples: list[Example], texts: list[str], odds: np.ndarray) -> Group:
    cards = []
    for place, example in enumerate(examples[:SHOWN]):
        order = np.argsort(-odds[place], kind="stable")[:TEXTS].tolist()
        own = set(example.captions)
        lines = [
            f"{odds[place, n]:+.2f} {texts[n]}" + (", its own" if texts[n] in own else "")
            for n in order
        ]
        cards.append(Card(pixels=sized(example.pixels), described="a picture", lines=tuple(lines)))
    return Group(heading="The best captions for pictures", cards=cards)


def _log_odds(share: float) -> float:
    """Of a probability that may have been rounded to 0 or 1."""
    least = 1e-16
    return math.log(max(share, least)) - math.log(max(1 - share, least))
