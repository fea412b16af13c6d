"""How the official evaluator of VQA rewrites answers before it compares them, mistakes included.

Source: VQAEval of the VQA API (version of March 2021), followed step by step:

1. `processed_punctuation`: each of the marks below is deleted if somewhere in the text it touches a
   space, or if a comma stands between digits somewhere; else it becomes a space. Then periods go
   that no digit follows, 32 at most.
2. `processed_words`: lower case; none to ten become digits; a, an, the go; apostrophes come back.
"""

from __future__ import annotations

import re
from functools import lru_cache

MARKS = ';/[]"{}()=+\\_-><@`,?!'
"""In the order in which they are looked at; : ' . & $ % and all that is not ASCII stay."""
NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ARTICLES = ("a", "an", "the")
MOST_PERIODS = 32
"""The official code hands re.UNICODE, which is 32, to where the number of replacements goes."""
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
# Meant to look behind for a digit, it looks ahead for "<=" and one, which no period is.
_PERIOD = re.compile(r"\.(?!\d)")

# Words with their apostrophes. The text comes without; longer ones also with one of two.
_PLAIN = """
    ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd
    how'll how's isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock
    oughtn't shan't should've shouldn't somebody'll somebody's someone'd someone'll someone's
    something'd something'll that's there'd there're there's they'd they'll they're they've 'twas
    wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd
    who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
_DOUBLE = """
    couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've
    someone'd've something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll you'd've
"""
_ODD = {
    "ow's'at": "'ow's'at",
    "'ows'at": "'ow's'at",
    "'ow'sat": "'ow's'at",
    "somebody'd": "somebodyd",  # backwards, in the official table
    "yall'd've": "y'all'd've",
    "y'alld've": "y'all'd've",
    "y'all'dve": "y'all'd've",
}


@lru_cache(
    maxsize=2**16
)  # few answers are most of all; 214,354 questions, of 100 real ones: 3 s, not 31
def normalised(text: str) -> str:
    """Rewrite an answer as the official evaluator does where annotators differ.

    Example: `normalised("The two dogs.")` is "2 dogs".
    """
    return processed_words(processed_punctuation(stripped(text)))


def vocabulary_form(text: str) -> str:
    """Rewrite an answer as answer maps are made: like `normalised`, without `stripped` before it.

    (The usual code then removes commas, of which none is left.)
    """
    return processed_words(processed_punctuation(text))


def stripped(text: str) -> str:
    """Line breaks and tabs become spaces; none at the ends."""
    return text.replace("\n", " ").replace("\t", " ").strip()


@lru_cache(maxsize=2**16)
def processed_punctuation(text: str) -> str:
    """Step 1. The conditions are about the text as it came, not as it has become."""
    has_number = _COMMA_IN_NUMBER.search(text) is not None
    done = text
    for mark in MARKS:
        touches = f"{mark} " in text or f" {mark}" in text
        done = done.replace(mark, "" if has_number or touches else " ")
    return _PERIOD.sub("", done, count=MOST_PERIODS)


def processed_words(text: str) -> str:
    """Step 2."""
    words = (_DIGITS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def _contractions() -> dict[str, str]:
    """Words without (one of) their apostrophes, to words with all of them."""
    table = {word.replace("'", ""): word for word in _PLAIN.split()}
    for word in _DOUBLE.split():
        first, second, third = word.split("'")
        table |= {f"{first}{second}'{third}": word, f"{first}'{second}{third}": word}
    return table | _ODD


CONTRACTIONS = _contractions()
_DIGITS = {word: str(number) for number, word in enumerate(NUMBERS)} | {"zero": "0"}
