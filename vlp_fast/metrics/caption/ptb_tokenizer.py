"""Captions as the official evaluation of COCO captions tokenises them, without Java.

That is Stanford's PTBTokenizer 3.4.1 with `-preserveLines -lowerCase`, behind which tokens that are
punctuation are dropped. Of 13,986 captions of COCO all have the same tokens, of strings put
together at random from words and marks that are hard 99.8 %.

Two of its habits are left out, for they make a caption depend on others: one that ends in "b."
loses the period there if the next caption begins with "A"; and one with a line break of another
kind (form feed, U+2028) is taken for two, which shifts all that follow to other images.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vlp_fast.metrics.caption.ptb_marks import ALONE, APOSTROPHE, QUOTE, SPELT
from vlp_fast.metrics.caption.ptb_rules import RULES
from vlp_fast.metrics.caption.ptb_words import SHORTENED, SPLIT

PUNCTUATION = frozenset(("''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";", ""))
"""Tokens that are dropped, and what is none. Brackets are not: the official list has them in
capitals, and they are in lower case by then ("-lrb-")."""

_KEEP_PERIOD = frozenset(SHORTENED.split())
_LAST_OF_PLANE = "\uffff"
_SOFT_HYPHEN = "\xad"
# What most captions are made of is spared the patterns.
_GAP = re.compile(r"(?:\s|[.,](?=\s|$))+")
_WORD = re.compile("[A-Za-z]?[a-z]+(?=,? |$)|[Aa](?= )")
_LAST_WORD = re.compile(r"[a-z]{2,}(?=\. *$)")
_CONTRACTED = re.compile(rf"{APOSTROPHE}(?i:[smd]|re|ve|ll)(?![A-Za-z])|[nN]{APOSTROPHE}[tT]")
_APOSTROPHE = re.compile(APOSTROPHE)
_QUOTES = re.compile(f"{QUOTE}{{2}}")
_DASHES, _DOTS = re.compile("-{2,4}"), re.compile(r"\.{3,}")
_FACE = re.compile("[:;=<>(]")


def tokenised(caption: str) -> str:
    """Tokenise a caption, in lower case and without punctuation.

    Example: "A man's dog isn't here." is "a man 's dog is n't here".

    Returns:
        Tokens with a space between. One may hold a no-break space, as a mixed number does.
    """
    text = caption.replace(_SOFT_HYPHEN, "")
    return " ".join(token for token in _tokens(text) if token not in PUNCTUATION)


def _tokens(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        if gap := _GAP.match(text, place):
            place = gap.end()
            continue
        end = _plain_end(text, place) or _end(text, place)
        word = text[place:end]
        place = end
        if word.lower() in SPLIT and not _CONTRACTED.match(text, end):
            yield from SPLIT[word.lower()]
        elif len(word) > 1 or ALONE.match(word) or (word.isalnum() and word <= _LAST_OF_PLANE):
            yield _spelt(word)


def _plain_end(text: str, place: int) -> int | None:
    """Where a word of letters alone ends that no pattern could make longer; None for others."""
    if found := _WORD.match(text, place):
        return found.end()
    found = _LAST_WORD.match(text, place)
    return None if found is None or found.group() in _KEEP_PERIOD else found.end()


def _end(text: str, place: int) -> int:
    """Where the token ends that begins here."""
    reached, end = place, place + 1
    for rule in RULES:
        found = rule.match(text, place)
        if found is not None and found.end() > reached:
            reached = found.end()
            end = found.start("then") if rule.groups else reached
    return end


def _spelt(word: str) -> str:
    """A token as the tokeniser prints it."""
    if word.isalpha():
        return word.lower()
    if word in SPELT:
        return SPELT[word]
    if _QUOTES.fullmatch(word):
        return "".join(SPELT.get(quote, quote) for quote in word)
    if _DASHES.fullmatch(word):
        return "--"
    if _DOTS.fullmatch(word):
        return "..."
    if _CONTRACTED.fullmatch(word):
        word = _APOSTROPHE.sub("'", word)
    if word[0].isdigit() or _FACE.match(word):
        word = word.replace("(", "-lrb-").replace(")", "-rrb-")
    return word.lower().replace("&amp;", "&").replace(" ", "\xa0")
