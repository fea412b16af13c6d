"""The visual dictionary of a SOHO: which codes are used, what they look like, which words they go
with (asked for by readers of the published code, its issue 8).
"""

from __future__ import annotations

import contextlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vlp_fast.data.broken_image import BrokenImage
from vlp_fast.data.record import Record
from vlp_fast.errors import InputError
from vlp_fast.inference.pictures import open_picture
from vlp_fast.inference.predictor import Predictor
from vlp_fast.tasks.pretraining.code_maps import SIDE, CodedPicture, patches_of
from vlp_fast.viz.cards import Card, Group, cards_section
from vlp_fast.viz.chart import bars
from vlp_fast.viz.looked import Looked
from vlp_fast.viz.page import Section
from vlp_fast.viz.paint import Pixels

SHOWN, PATCHES, WORDS = 8, 8, 5
"""Codes of each kind, patches and words of each code."""
LEAST = 3
"""Pictures that a code and a word share, for what they share to mean anything."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Codes:
    """Codes of pictures.

    Attributes:
        pictures: with the code of each cell; pixels are uint8, for there are many.
        words: of the captions of each.
        counts: (K,) int64, cells that have each code.
    """

    pictures: list[CodedPicture]
    words: list[frozenset[str]]
    counts: np.ndarray

    @property
    def perplexity(self) -> float:
        """Of the codes' shares: as many codes as would be used alike."""
        shares = self.counts[self.counts > 0] / self.counts.sum()
        return math.exp(-float((shares * np.log(shares)).sum()))


def codes_of(model: Predictor, records: Sequence[Record], num_codes: int) -> Codes:
    """Look at the pictures of some records; broken ones are left out.

    Raises:
        InputError: if none can be read.
    """
    opened, words = [], []
    for record in records:
        with contextlib.suppress(BrokenImage):  # whoever trains is told of these
            opened.append(open_picture(record.path, model.trained.about.data))
            words.append(frozenset(re.findall(r"\w+", " ".join(record.captions).lower())))
    if not opened:
        raise InputError("no held-out picture can be read")
    maps = model.codes(opened)
    pictures = [
        CodedPicture(one.example.pixels, torch.from_numpy(codes))
        for one, codes in zip(opened, maps, strict=True)
    ]
    every = np.concatenate([codes.flatten() for codes in maps])
    counts = np.bincount(every, minlength=num_codes)
    return Codes(pictures=pictures, words=words, counts=counts)


def codes_section(looked: Looked) -> Section:
    """The dictionary over the pictures that figures are of.

    Raises:
        InputError: if none can be read.
    """
    records = looked.task.held_out.records
    chosen = [records[index] for index in looked.held_out.indices]
    num_codes = looked.model.trained.about.model.num_codes  # type: ignore[attr-defined]
    return dictionary_section(codes_of(looked.model, chosen, num_codes))


def dictionary_section(codes: Codes) -> Section:
    """How often codes are used, and what the most used, some, and the rarest look like."""
    order = np.argsort(-codes.counts, kind="stable")
    used = [int(code) for code in order if codes.counts[code]]
    others = np.random.default_rng(0).permutation(used[SHOWN:-SHOWN])[:SHOWN].tolist()
    kinds = {"most used": used[:SHOWN], "at random": others, "rarest": used[SHOWN:][-SHOWN:]}
    heights = [(f"code {code}", float(codes.counts[code])) for code in order]
    said = (
        f"<p>{len(used)} of {len(codes.counts)} codes have a cell of {len(codes.pictures)} "
        f"held-out pictures; perplexity {codes.perplexity:.1f}.</p>\n"
        f'<div class="charts">{bars("cells of each code", heights)}</div>'
    )
    groups = [
        Group(heading=name, cards=[_card(codes, code) for code in group], columns=2)
        for name, group in kinds.items()
        if group
    ]
    return cards_section(title="Visual dictionary", name="dictionary", groups=groups, said=said)


def words_of(codes: Codes, code: int) -> list[tuple[str, float]]:
    """Words with the highest pointwise mutual information with a code, over pictures, in bits."""
    has_code = [bool((one.codes == code).any()) for one in codes.pictures]
    total, with_code = len(has_code), sum(has_code)
    frequency = Counter(word for words in codes.words for word in words)
    together = Counter(
        word for words, has in zip(codes.words, has_code, strict=True) if has for word in words
    )
    found = {
        word: math.log2(count * total / (with_code * frequency[word]))
        for word, count in together.items()
        if count >= LEAST
    }
    return sorted(((w, bits) for w, bits in found.items() if bits > 0), key=lambda x: (-x[1], x[0]))


def _card(codes: Codes, code: int) -> Card:
    words = ", ".join(f"{word} {bits:.1f}" for word, bits in words_of(codes, code)[:WORDS])
    lines = [f"{codes.counts[code]:,} cells", *([f"goes with {words}"] if words else [])]
    return Card(
        pixels=_strip(codes, code),
        described=f"cells that have code {code}",
        title=f"code {code}",
        lines=tuple(lines),
    )


def _strip(codes: Codes, code: int) -> Pixels:
    """Patches side by side, as many places as there are for them."""
    row = torch.cat(patches_of(code, codes.pictures, PATCHES), dim=2)
    room = PATCHES * SIDE - row.size(2)
    pixels = np.pad(row.permute(1, 2, 0).numpy(), ((0, 0), (0, room), (0, 0)), constant_values=255)
    return np.ascontiguousarray(pixels)
