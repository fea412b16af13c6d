"""A page of HTML that holds all it shows: style, curves and pictures are in the file."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from vlp_fast import __version__

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Browsers fetch and run nothing for a page, whatever came to be in it."""
STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin-top: 2rem; }
p.of, footer { color: var(--quiet); font-size: .9rem; overflow-wrap: anywhere; }
nav a { margin-right: 1rem; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
svg { width: 100%; height: auto; } svg text { font-size: 10px; }
svg text:not(.name) { fill: currentColor; }
svg .name { paint-order: stroke; stroke: Canvas; stroke-width: 3px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .8rem .2rem 0; text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
img { max-width: 100%; height: auto; background: #fff; } details { margin: .5rem 0; }
@media (max-width: 30rem) { th, td { padding-right: .45rem; } }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; overflow-wrap: anywhere; }
.cards { display: grid; gap: 1rem; }
.cards { grid-template-columns: repeat(auto-fill, minmax(min(13rem, 46%), 1fr)); }
.small { grid-template-columns: repeat(auto-fill, minmax(min(7.5rem, 30%), 1fr)); }
.broad { grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
figure { margin: 0; } figure img { width: 100%; display: block; }
figcaption { font-size: .85rem; line-height: 1.35; margin-top: .3rem; overflow-wrap: anywhere; }
figcaption span, figcaption b { display: block; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: .5rem 0; }
.legend svg, th svg { width: 3.4rem; height: .8rem; vertical-align: middle; }
""".strip()


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A part of a page as one picture, a file of its own.

    Attributes:
        name: of the file, without an ending.
        size: width and height in inches.
        draw: draws on a figure of matplotlib.
    """

    name: str
    size: tuple[float, float]
    draw: Callable[[Any], None]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page.

    Attributes:
        title: its heading.
        body: HTML.
        sheet: the same as a picture; None where there is none.
    """

    title: str
    body: str
    sheet: Sheet | None = None

    @property
    def anchor(self) -> str:
        """The name that links have."""
        return "-".join(self.title.lower().split())


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """A whole document.

    Args:
        title: of the page.
        subtitle: a line below it.
        sections: one below another; links to them stand at the top.
    """
    links = "".join(f'<a href="#{s.anchor}">{escape(s.title)}</a>' for s in sections)
    parts = "\n".join(
        f'<section id="{s.anchor}"><h2>{escape(s.title)}</h2>\n{s.body}\n</section>'
        for s in sections
    )
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p class="of">{escape(subtitle)}</p>
<nav>{links}</nav>
{parts}
<footer>vlp_fast {escape(__version__)}</footer>
</body>
</html>
"""
    # Half of a pair of surrogates comes out of json and of names of files, and is no character.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def picture(png: bytes, described: str) -> str:
    """A PNG inside the page."""
    data = base64.b64encode(png).decode("ascii")
    return f'<img alt="{escape(described, quote=True)}" src="data:image/png;base64,{data}">'
