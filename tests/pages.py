"""What README.md, CONTRIBUTING.md and docs/ hold: snippets, commands, links, anchors."""

import re
import shlex
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
PAGES = {
    path.relative_to(ROOT).as_posix().removeprefix("docs/"): path.read_text() for path in FILES
}
"""By name below docs/; README.md and CONTRIBUTING.md are those of the root."""


def folder_of(page: str) -> Path:
    """The folder that a page's links start from."""
    return ROOT if (ROOT / page).is_file() else (ROOT / "docs" / page).parent


def section(text: str, heading: str) -> str:
    """What stands between a heading of level two and the next one."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    assert found, f"no section '{heading}'"
    return found[1]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.S | re.M)


def run_snippet(page: str, first_line: str = "") -> dict[str, Any]:
    """Execute the one Python block of a page or section that begins so, and return its names."""
    snippets = blocks(page, "python")
    (snippet,) = [snippet for snippet in snippets if snippet.startswith(first_line)]
    names: dict[str, Any] = {"__name__": "readme"}
    execute(snippet, names)
    return names


def execute(snippet: str, names: dict[str, Any]) -> None:
    """Run a snippet with these names, to which it adds its own."""
    exec(compile(snippet, "snippet", "exec"), names)


def commands(text: str) -> list[list[str]]:
    """The words of every command in the shell blocks, comments and continued lines resolved."""
    found = []
    for block in (*blocks(text, "sh"), *blocks(text, "bash")):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                found.append(words)
    return found


def without_blocks(text: str) -> str:
    """The prose: no fenced block."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M)


def links(text: str) -> list[str]:
    """Targets of links and pictures, those of other hosts left out."""
    targets = re.findall(r"\]\(([^)\s]+)\)", without_blocks(text))
    return [target for target in targets if "://" not in target]


def anchors(text: str) -> set[str]:
    """Anchors that GitHub and the site give to a page's headings."""
    headings = re.findall(r"^#{1,3} (.+)$", without_blocks(text), re.M)
    plain = (re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}
