"""Texts above and below pictures that are drawn, in a few lines."""

from __future__ import annotations

import textwrap

from vlp_fast.data.printable import printable

LINE = 44
"""Characters across one of four pictures in a row."""


def wrapped(text: str, width: int = LINE, lines: int = 4) -> str:
    """Write a text in lines; three dots at the end say that there is more.

    Args:
        text: from a file of strangers, or of a model.
        width: characters of a line; longer words are cut.
        lines: at most.
    """
    found = textwrap.wrap(printable(text), width, max_lines=lines, placeholder=" ...")
    return "\n".join(found)
