"""Fails if a page of a built site would ask another host for anything: a font, a script, a picture.

Links that a person may follow are fine; what a browser fetches by itself is not.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
ELSEWHERE = re.compile(r"^\s*(https?:)?//")
IN_STYLES = re.compile(r"(?:url\(\s*[\"']?|@import\s+[\"'])((?:https?:)?//[^\"')]+)")


class _Page(HTMLParser):
    """Collects what a browser fetches."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        address = values.get(FETCHED.get(tag, "")) or ""
        is_fetched = tag != "link" or values.get("rel") not in ("canonical", "license")
        if is_fetched and ELSEWHERE.match(address):
            self.found.append(f"<{tag}> {address}")


def fetched_elsewhere(file: Path) -> list[str]:
    """What a page or a style sheet takes from other hosts."""
    text = file.read_text(encoding="utf-8", errors="replace")
    found = IN_STYLES.findall(text)
    if file.suffix == ".html":
        page = _Page()
        page.feed(text)
        found += page.found
    return found


def main(folder: Path) -> int:
    """Look at a whole site."""
    files = [path for kind in ("html", "css", "svg") for path in folder.rglob(f"*.{kind}")]
    found = [f"{file}: {what}" for file in files for what in fetched_elsewhere(file)]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
