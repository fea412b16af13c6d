"""Marks: which are tokens, and how the Penn Treebank tokeniser spells them."""
# ruff: noqa: RUF001 - marks that look like others are what this file is about.

from __future__ import annotations

import re

APOSTROPHE = "(?:['’\x92]|&apos;)"
QUOTE = "[`‘’“”«»‹›‛\x91-\x94]"

ALONE = re.compile(
    "[!-~¡-¬®-¹»-¿×÷\u02c2-\u036f\u2010\u2011‖‗–—―‘-„‛-‣…‰-‸‹›※‾-⁂⁄⁰⁴-⁾₀-₎₤€℀-⅏⅓-⅞←-⯿、。〒・！-／：-＠［-｀｛-･\x91-\x94\x96\x97]"
)
"""A character that is a token where no pattern finds one; others vanish, as emoji do."""

SPELT = {
    **dict.fromkeys("“«\x93", "``"),
    **dict.fromkeys(("”", "»", "\x94", '"', "&quot;"), "''"),
    **dict.fromkeys("‘‛‹\x91", "`"),
    **dict.fromkeys(("’", "›", "\x92", "&apos;"), "'"),
    **dict.fromkeys(("–", "—", "―", "\x96", "\x97", "&ndash;", "&mdash;"), "--"),
    **dict.fromkeys("€¤", "$"),
    **dict.fromkeys("\u2010\u2011", "-"),
    "£": "#",
    "¢": "cents",
    "…": "...",
    "½": "1/2",
    "¼": "1/4",
    "¾": "3/4",
    "⅓": "1/3",
    "⅔": "2/3",
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
    "&lt;": "<",
    "&gt;": ">",
    "&nbsp;": "",
}
"""Marks as they are printed; the empty ones are not."""
