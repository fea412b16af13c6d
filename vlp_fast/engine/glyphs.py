"""Fonts for the texts of a figure: captions may be in any writing, and one font has not all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

PLACEHOLDER = "\N{WHITE SQUARE}"
"""Stands for a character that no installed font has."""
UNFIT = ("Last Resort", "cm", "STIXNonUnicode", "STIXSize")
"""Beginnings of the names of fonts that ship with matplotlib: a box for every character there is,
and symbols under the numbers of other characters."""


def fit_fonts(figure: Any) -> str | None:
    """Give every text of a figure fonts that have its characters, where any are installed.

    What no font has becomes `PLACEHOLDER`.

    Returns:
        A line that says what is not shown, or None.
    """
    from matplotlib import font_manager, rcParams
    from matplotlib.text import Text

    families = rcParams["font.family"]
    first = _characters(font_manager.findfont(font_manager.FontProperties(family=families)))
    texts = [(text, text.get_text()) for text in figure.findobj(Text)]
    missing = {c for _, words in texts for c in words if c != "\n"} - first
    if not missing:
        return None
    further, left = _cover(missing, _installed())
    for text, words in texts:
        if not missing.isdisjoint(words):
            text.set_fontfamily([*families, *further])
            text.set_text("".join(PLACEHOLDER if c in left else c for c in words))
    if not left:
        return None
    return (
        f"no installed font has {len(left)} of its characters (the first: U+{ord(min(left)):04X}), "
        f"which are drawn as {PLACEHOLDER}; install a font that has them, such as Noto Sans CJK"
    )


def _cover(missing: set[str], fonts: Iterable[tuple[str, str]]) -> tuple[list[str], set[str]]:
    """Choose fonts, those with most of the characters first.

    Args:
        missing: the characters.
        fonts: (family, path) of each font.

    Returns:
        The families, and the characters that none has.
    """
    having = [(family, missing & _characters(path)) for family, path in fonts]
    families, left = [], set(missing)
    while left:
        family, characters = max(having, key=lambda font: len(font[1] & left), default=("", set()))
        if not characters & left:
            break
        families.append(family)
        left -= characters
    return families, left


def _characters(path: str) -> set[str]:
    """What a font file can draw."""
    from matplotlib.ft2font import FT2Font

    try:
        return set(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):  # gone since the fonts were listed, or damaged
        return set()


def _installed() -> Iterator[tuple[str, str]]:
    """Family and file of the fonts that matplotlib would take for a family."""
    from matplotlib import font_manager

    for family in sorted({font.name for font in font_manager.fontManager.ttflist}):
        if not family.startswith(UNFIT):
            wanted = font_manager.FontProperties(family=family)
            yield family, font_manager.findfont(wanted)
