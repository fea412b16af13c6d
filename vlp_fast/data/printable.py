"""Text from strangers' files for messages: one line, and nothing that a terminal obeys."""

from __future__ import annotations


def printable(thing: object) -> str:
    """Return the text of a thing with line breaks, control characters and the like escaped.

    Example: of a line break remain two characters, a backslash and an n.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(thing)
    )
