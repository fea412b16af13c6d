"""Titles: whatever the text, so many lines of so many characters, and nothing cut in silence."""

import pytest

from vlp_fast.tasks.titles import wrapped


@pytest.mark.parametrize("text", ["a " * 200, "w" * 300, "a\x1b[2J\u2028b " * 40, "one two"])
def test_lines_are_no_longer_and_no_more_than_wanted(text: str) -> None:
    lines = wrapped(text, 20, 3).split("\n")
    assert len(lines) <= 3
    assert all(0 < len(line) <= 20 and line.isprintable() for line in lines)
    assert lines[-1].endswith("...") == (len(text) > 60)


def test_what_fits_is_left_as_it_is() -> None:
    assert wrapped("a man on a horse", 9) == "a man on\na horse"
    assert wrapped("a longword", 5) == "a lon\ngword", "no line is empty, none too long"
    assert wrapped("") == wrapped("  ") == ""
