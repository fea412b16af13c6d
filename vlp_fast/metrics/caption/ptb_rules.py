"""What a token of the Penn Treebank tokeniser can look like, as patterns.

At each place the pattern that reaches furthest wins; of equals, the first. What a pattern looks at
behind its token, in the group `then`, counts as reached.

Source: the output of Stanford's PTBTokenizer 3.4.1, measured, of which nothing is copied: each
character of Unicode's first plane, all words of up to five letters before a period, and strings
put together at random.
"""

from __future__ import annotations

import re

from vlp_fast.metrics.caption.ptb_marks import APOSTROPHE, QUOTE
from vlp_fast.metrics.caption.ptb_words import (
    BEFORE_NUMBERS,
    FILE_ENDINGS,
    SENTENCE_STARTS,
    SHORTENED,
    SHORTENED_NAMES,
)


def _any(words: str) -> str:
    return "|".join(words.split())


def _capital(words: str) -> str:
    """The words with one capital, and in capitals."""
    return f"{_any(words.title())}|{_any(words.upper())}"


_L = "(?:[^\\W\\d_²³¹¼-¾⁰⁴-⁹₀-₉⅐-⅟\U00010000-\U0010ffff]|[\u02c2-\u036f])"  # a letter
_C = rf"(?:{_L}|\d)"
_Q = APOSTROPHE
_SUFFIX = f"{_Q}(?i:[smd]|re|ve|ll)"
# Words: with inner periods; with hyphens, where a part may begin as in d'oeuvres; with initials.
_DOTTED = f"{_L}{_C}*(?:[.!?]{_L}{_C}*)*"
_PART = f"(?:[dDlLoO]{_Q}(?={_C}{{2}}))?{_C}+"
_JOINED = f"{_PART}(?:[-_\u2010\u2011]{_PART})*"
_INITIALS = r"[A-Za-z](?:\.[A-Za-z])+\."
_HYPHENED = f"[A-Za-z0-9][A-Za-z0-9.,]*(?:-(?:{_INITIALS}|[A-Za-z0-9]+))+"
_CAPITALS = "[A-Z]+(?:(?:&|&amp;|[+])[A-Z]+)+"
_SLASHED = "[A-Za-z0-9]+(?:-[A-Za-z]+)*"
_START = rf"(?:(?:{_capital(SENTENCE_STARTS)})(?=\s|$)|M[rs]\.(?=\s|$))"
_IN_URL = r"""[^\s"<>|(){}]+[^\s"<>|.!?(){},-]"""
_IN_HOST = r"""[^\s"`'<>|.!?(){},_$@-]"""
_HOST = (
    rf"(?:(?i:www)\.(?:{_IN_HOST}+\.)+[a-zA-Z]{{2,4}}|(?:{_L}{_IN_HOST}*\.)+(?:com|net|org|edu))"
)
_IN_MAIL = r"""[^\s"<>|(){}.@]"""
_ATTRIBUTE = r"""[A-Za-z][\w.:-]*(?:\s*=\s*(?:"[^"]*"|'[^']*'))?"""

_PATTERNS = (
    # Contractions. "can't" is "ca" and "n't"; what ends in n is not shortened so.
    f"[A-Za-z]*[A-MO-Za-mo-z](?P<then>[nN]{_Q}[tT])",
    f"[nN]{_Q}[tT]",
    f"{_SUFFIX}(?P<then>[^A-Za-z]|$)",
    f"{_L}{_C}*(?P<then>{_SUFFIX})",
    "'[tT](?P<then>(?i:is|was))",
    # Apostrophes that stay, and one that begins a quotation.
    f"{_Q}[nN]{_Q}",
    rf"{_Q}(?:(?i:em|till?|cause)|[2-9]0s|\d\d(?=\s|$))",
    r"'(?P<then>[A-Za-z]\S)",
    f"{_SUFFIX}|{_Q}[nN]",
    f"(?i:(?:dunkin|somethin|ol){_Q}|c'mon|(?:c{_Q}est|ev{_Q}ry|e{_Q}er|li{_Q}l|nat{_Q}l))",
    f"(?i:s{_Q}mores)(?!{_C})",
    f"[dDlLjJ]{_Q}",
    f"[yY]{_Q}(?P<then>{_L})",
    f"(?:[dlon]|[A-XZ]){_Q}{_L}{{2,}}",
    f"{_L}{{2,}}(?<=[aeiouyAEIOUY])(?:{_Q}|`)[aeiouA-Z]{_L}*",
    # Words.
    _DOTTED,
    _JOINED,
    _HYPHENED,
    f"{_SLASHED}(?:/{_SLASHED}){{1,2}}",
    _CAPITALS,
    # Words with their period.
    rf"[A-Za-z](?P<then>\.\s+{_START})",
    r"[A-Za-z]\.",
    _INITIALS,
    rf"(?:(?i:{_any(SHORTENED)})|{_capital(SHORTENED_NAMES)})\.",
    rf"(?i:{_any(BEFORE_NUMBERS)})\.(?=\s*\d)",
    rf"(?:{_DOTTED}|{_JOINED}|{_HYPHENED}|{_CAPITALS})\.(?P<then>[,;:])",
    # Numbers, fractions, telephone numbers, amounts.
    r"[-+]?[.:,]?\d+(?:[.:,]\d+)*",
    r"(?:\d{1,4}[- \xa0])?\d{1,4}\\?/\d{1,4}",
    r"(?:\(\d{2,3}\)[ \xa0]?|\d{2,4}[- \xa0])\d{3,4}[- \xa0]?\d{3,5}",
    r"[A-Z]*\$",
    # What the Internet writes.
    f"(?i:https?)://{_IN_URL}",
    f"{_HOST}(?:/{_IN_URL})?",
    rf"\d+\.(?:{_any(FILE_ENDINGS)})(?!{_C})",
    rf"<?[a-zA-Z0-9][^\s\"<>|(){{}}]*@(?:{_IN_MAIL}+\.)*{_IN_MAIL}+>?",
    "@[A-Za-z_][A-Za-z0-9_]*",
    f"#{_L}+",
    rf"</?[A-Za-z][\w.:-]*(?:\s+{_ATTRIBUTE})*\s*/?>",
    r"<[!?][A-Za-z-][^>\n]*>",
    r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]](?![A-Za-z0-9])",
    r"[-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][_.-]?[-^x=~<>']\)",
    # Marks that come in runs, and those that HTML spells out.
    r"-{2,}|\.{3,}|[!?]+|\\?\*+|_+|#+|@+|<<|>>|''|[²³¹⁰⁴-⁹₀-₉]+|(?i:-[lr][rsc]b-|c\+\+|[cf]#)",
    f"{QUOTE}{{2}}",
    r"&(?:amp|lt|gt|quot|apos|nbsp|ndash|mdash);|&#\d+;",
)
RULES = tuple(re.compile(pattern) for pattern in _PATTERNS)
