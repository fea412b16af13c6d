"""WordPiece back to a caption as people write it: "a man's t-shirt", not "a man ' s t - shirt".

Who judges captions tokenises them anew: with the spaces that WordPiece puts around marks, 1.8 % of
COCO's captions have other tokens than before. What is lost is guessed as captions mostly have it:
a hyphen or a slash between words joins them, an apostrophe before "s" belongs to the word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

CONTINUED = "##"
_ENDS = frozenset(("s", "t", "m", "d", "re", "ve", "ll"))
"""Behind an apostrophe, the end of a shortened word."""
_STARTS = frozenset(("o", "d", "l", "y", "c", "ma", "s"))
"""In front of one that is inside a word: o'clock, d'art, y'all, ma'am, s'mores."""
_CLIPPED = re.compile(r"em|till?|cause|tis|twas|n|\d\d|\d0s")
"""Behind one that begins a word: 'em, '90s."""
_CLOSING = frozenset(".,!?;:)]}%")
_OPENING = frozenset("([{$#")
_JOINING = frozenset("-/_")


def detokenised(tokens: Iterable[str]) -> str:
    """Write tokens as text.

    Args:
        tokens: of BERT's WordPiece, without special ones: words, pieces that begin with "##", and
            each mark by itself.

    Returns:
        The text, with a space wherever no rule says that there is none.
    """
    words = _whole_words(tokens)
    parts: list[str] = []
    opened: set[str] = set()
    is_glued = True
    for place, word in enumerate(words):
        last = words[place - 1] if place else ""
        following = words[place + 1] if place + 1 < len(words) else ""
        before, after = _glue(last, word, following, opened)
        if word == "'" and words[place - 2 : place] == ["'", "n"]:  # rock 'n' roll
            before, after = True, False
        parts += [word] if before or is_glued else [" ", word]
        is_glued = after
    return "".join(parts)


def _whole_words(tokens: Iterable[str]) -> list[str]:
    words: list[str] = []
    for token in tokens:
        if token.startswith(CONTINUED) and token != CONTINUED and words:
            words[-1] += token.removeprefix(CONTINUED)
        else:
            words.append(token)
    return words


def _glue(last: str, word: str, following: str, opened: set[str]) -> tuple[bool, bool]:
    """Whether a word has no space before it, and none behind it."""
    if word == "'" and (found := _glue_of_apostrophe(last, following)):
        return found
    if word in ("'", '"'):
        return _glue_of_quote(last, word, following, opened)
    if word == "-" and word in (last, following):  # a dash
        return last == word, following == word
    if word in _JOINING:
        is_inside = last.isalnum() and following.isalnum()
        return is_inside, is_inside
    if word in _CLOSING:
        return True, _is_inside(last, word, following)
    return False, word in _OPENING


def _is_inside(last: str, mark: str, following: str) -> bool:
    """Whether a mark is inside a number, a time or an abbreviation."""
    if last[-1:].isdigit() and following[:1].isdigit():
        return mark in ".:" or (mark == "," and len(following) == 3)
    return mark == "." and len(last) == len(following) == 1 and (last + following).isalpha()


def _glue_of_apostrophe(last: str, following: str) -> tuple[bool, bool] | None:
    """What an apostrophe inside or at the beginning of a word has; None for any other."""
    if last.isalnum() and (following in _ENDS or (last in _STARTS and following.isalpha())):
        return True, True
    if not last[-1:].isdigit() and _CLIPPED.fullmatch(following):
        return False, True
    return None


def _glue_of_quote(last: str, mark: str, following: str, opened: set[str]) -> tuple[bool, bool]:
    """What opens or closes a quotation, or stands behind a plural (the dogs' tails) or a number."""
    if mark in opened:
        opened.remove(mark)
        return True, False
    if last[-1:].isdigit():  # feet and inches
        return True, following[:1].isdigit()
    if mark == "'" and last.endswith("s"):
        return True, False
    opened.add(mark)
    return False, True
