"""Docstrings of the package as reStructuredText, for autodoc.

They are written for people: code between backticks, formulas and drawings indented by four, and
the sections `Args`, `Attributes`, `Returns`, `Raises` and `Source`. Everything else that means
something to reStructuredText is taken at its word, so that no docstring can break the site.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Source)( \([^)]*\))?:\s*(.*)")
TITLES = {"Args": "Parameters"}
NAMED = re.compile(r"([\w.*]+(?:, [\w.*]+)*): (.*)")
LISTED = re.compile(r"(?:- |\d+\. )(.*)")
CODE = re.compile(r"``.+?``|`.+?`")
SPECIAL = re.compile(r"([\\*|_<`])")
ENUMERATOR = re.compile(r"(?=\(?\w{1,3}[.)]\s)|(?=[-+*:.=~#^\"']+(?:\s|$))")
INDENT = 4


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", _rewrite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _rewrite(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = rewritten(lines)


def rewritten(lines: list[str]) -> list[str]:
    """A docstring, dedented, as reStructuredText."""
    found: list[str] = []
    for part in _parts(lines):
        found += [*part, ""]
    return found


def _parts(lines: list[str]) -> Iterator[list[str]]:
    """The blocks of a docstring one behind another; a section goes to its last indented line."""
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif section := SECTION.fullmatch(line):
            end = _end(lines, at + 1)
            yield _section(*section.groups(), lines[at + 1 : end])
            at = end
        elif line.startswith((" ", ">>> ")):
            end = _end(lines, at) if line.startswith(" ") else _end_of_paragraph(lines, at)
            yield _literal("\n".join(lines[at:end]).rstrip().split("\n"))
            at = end
        else:
            end = _end_of_paragraph(lines, at)
            yield _paragraph(lines[at:end])
            at = end


def _end(lines: list[str], start: int) -> int:
    """Where what is indented ends, blank lines within it included."""
    end = start
    while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
        end += 1
    return end


def _end_of_paragraph(lines: list[str], start: int) -> int:
    end = start + 1
    while end < len(lines) and lines[end].strip():
        is_block = lines[end].startswith(" " * INDENT) and not LISTED.match(lines[start])
        if is_block or SECTION.fullmatch(lines[end]) or LISTED.match(lines[end]):
            break
        end += 1
    return end


def _section(kind: str, remark: str | None, first: str, body: list[str]) -> list[str]:
    title = escaped(TITLES.get(kind, kind) + (remark or ""))
    items = list(_items([" " * INDENT + first, *body] if first else body))
    if len(items) == 1 and items[0][0] is None:
        return [f":{title}: {escaped(items[0][1])}"]
    rows = [f"* {_named(name)}{escaped(text)}" for name, text in items]
    return [f":{title}:", *(f"   {row}" for row in rows)]


def _items(body: list[str]) -> Iterator[tuple[str | None, str]]:
    """Names and what is said of them; None where a text has no name."""
    name, text = None, ""
    for line in filter(str.strip, body):
        is_new = not line.startswith(" " * (INDENT + 1))
        if is_new and (named := NAMED.fullmatch(line.strip())):
            if text:
                yield name, text
            name, text = named.groups()
        else:
            text = f"{text} {line.strip()}".strip()
    if text:
        yield name, text


def _named(name: str | None) -> str:
    return "" if name is None else f"**{escaped(name)}**: "


def _paragraph(lines: list[str]) -> list[str]:
    text = " ".join(line.strip() for line in lines)
    if listed := LISTED.fullmatch(text):
        return [f"* {escaped(listed[1])}"]
    return [escaped(text)]


def _literal(lines: list[str]) -> list[str]:
    kind = "python" if lines[0].lstrip().startswith(">>> ") else "text"
    margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return [f".. code-block:: {kind}", "", *(f"   {line[margin:]}".rstrip() for line in lines)]


def escaped(text: str) -> str:
    """Text in which only code between backticks means something."""
    found, end = [], 0
    for code in CODE.finditer(text):
        found += [SPECIAL.sub(r"\\\1", text[end : code.start()]), _code(code[0].strip("`"))]
        end = code.end()
    found.append(SPECIAL.sub(r"\\\1", text[end:]))
    whole = "".join(found)
    return "\\" + whole if ENUMERATOR.match(whole) else whole


def _code(text: str) -> str:
    """Empty escapes around it, for code that touches a word (`Name`s)."""
    return f"\\ ``{text.strip()}``\\ "
