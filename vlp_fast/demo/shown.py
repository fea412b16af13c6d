"""Results as HTML. Whatever models and visitors say is text there, and nothing else.

gradio reads what it shows as a template first, so that the signs of templates are escaped too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from vlp_fast.data.printable import printable

TEMPLATE_SIGNS = {ord(sign): f"&#{ord(sign)};" for sign in "${}`\\"}


def text(words: object) -> str:
    """Words as HTML."""
    return escape(str(words)).translate(TEMPLATE_SIGNS)


def refusal(error: object) -> str:
    """Why there is no result, in one line."""
    return f'<p class="refused" role="alert">{text(printable(error))}</p>'


def hint(words: str) -> str:
    """What to do next."""
    return f'<p class="hint">{text(words)}</p>'


def said(words: str) -> str:
    """A result in words."""
    return f'<p class="said">{text(words)}</p>'


def bars(shares: Iterable[tuple[str, float]]) -> str:
    """Names with their probabilities, a bar each."""
    rows = "".join(
        f"<tr><th>{text(name)}</th><td><i style='width:{100 * share:.1f}%'></i></td>"
        f"<td>{share:.2f}</td></tr>"
        for name, share in shares
    )
    return f'<table class="bars">{rows}</table>'


def figure(source: str, described: str, below: str) -> str:
    """A picture with HTML below it."""
    return (
        f'<figure><img src="{source}" alt="{text(described)}"><figcaption>{below}</figcaption>'
        "</figure>"
    )


def by_model(results: Sequence[tuple[str, str]]) -> str:
    """Results of models, under their names where there are several."""
    return "".join(
        f'<div class="model">{_heading(name) if len(results) > 1 else ""}{result}</div>'
        for name, result in results
    )


def _heading(name: str) -> str:
    return f"<h4>{text(name)}</h4>"
