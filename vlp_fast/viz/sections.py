"""What of a model is shown, by its abilities: a new one adds a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError
from vlp_fast.viz.boxes import boxes_section
from vlp_fast.viz.captions import captions_section
from vlp_fast.viz.dictionary import codes_section
from vlp_fast.viz.looked import Looked
from vlp_fast.viz.looking import object_section, text_section
from vlp_fast.viz.page import Section
from vlp_fast.viz.retrieved import retrieved_section
from vlp_fast.viz.wrong_answers import wrong_section


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a page that shows what a model does.

    Attributes:
        shows: abilities (`TaskConfig.abilities`), any of which it shows.
        make: the part; raises `InputError` where there is nothing to show.
    """

    shows: tuple[str, ...]
    make: Callable[[Looked], Section]


PARTS: dict[str, Part] = {
    "wrong_answers": Part(shows=("answer", "compare", "entails"), make=wrong_section),
    "boxes": Part(shows=("detect",), make=boxes_section),
    "captions": Part(shows=("caption",), make=captions_section),
    "retrieval": Part(shows=("match",), make=retrieved_section),
    "word_attention": Part(shows=("match", "answer", "compare", "entails"), make=text_section),
    "object_attention": Part(shows=("detect",), make=object_section),
    "dictionary": Part(shows=("codes",), make=codes_section),
}
"""By name, in the order of the page; sheets have the same names."""


def parts_of(abilities: Sequence[str], asked: Sequence[str] = ()) -> list[str]:
    """Names of the parts that these abilities have, or of those that are asked for.

    Raises:
        InputError: if one is asked for that there is not, or that the abilities do not have.
    """
    there = [name for name, part in PARTS.items() if {*part.shows} & {*abilities}]
    for name in asked:
        if name not in PARTS:
            raise InputError(f"--only {printable(name)}: there are {', '.join(PARTS)}")
        if name not in there:
            needs = " or ".join(PARTS[name].shows)
            raise InputError(
                f"--only {name}: needs a run that has learnt to {needs}; this one has "
                f"{', '.join(there) or 'nothing to show'}"
            )
    return [name for name in there if not asked or name in asked]
