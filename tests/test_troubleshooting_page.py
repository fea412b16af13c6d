"""docs/troubleshooting.md: every message that it quotes is still one of the source."""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest
from pages import PAGES, ROOT

QUOTED = re.findall(r"^\| `(.+?)` \| .+ \|$", PAGES["troubleshooting.md"], re.M)
ANY = "..."
"""What stands for a name, a number or a path, here and there."""


def test_most_of_the_page_is_quoted() -> None:
    assert len(QUOTED) > 40
    assert len(set(QUOTED)) == len(QUOTED)


@pytest.mark.parametrize("message", QUOTED)
def test_a_quoted_message_is_in_the_source(message: str) -> None:
    assert is_in(message, messages()), message


def is_in(message: str, templates: frozenset[str]) -> bool:
    """Whether some message of the source has all constant parts of a quoted one, in order."""
    parts = [part for part in re.split(r"\.{3,}", message) if part.strip(" ;:,.()")]
    assert max(map(len, parts)) >= 12, "too little to be looked for"
    pattern = re.compile(".*".join(map(re.escape, parts)))
    return any(pattern.search(template) for template in templates)


@cache
def messages() -> frozenset[str]:
    """Every text of the source, `...` for what is put into it."""
    rooms = ("vlp_fast", "kernels", "benchmarks")
    paths = (path for room in rooms for path in ROOT.glob(f"{room}/**/*.py"))
    trees = (ast.parse(path.read_text()) for path in paths)
    return frozenset(text for tree in trees for text in texts(tree))


def texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else ANY for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_another_message_is_noticed() -> None:
    known = frozenset(texts(ast.parse('f"{a}: holds {b} of {c}; give another --run-dir"')))
    assert known >= {"...: holds ... of ...; give another --run-dir"}
    assert is_in("...: holds ... of ...; give another --run-dir", known)
    assert is_in("...; give another ...", known)
    assert not is_in("...: holds ... in ...; give another --run-dir", known)
    assert not is_in("...; give another --run-dir: holds ...", known)
