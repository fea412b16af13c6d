"""What visitors ask about a picture, and how models answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vlp_fast.demo.models import Named, having
from vlp_fast.demo.shown import bars, by_model, hint, said
from vlp_fast.errors import InputError
from vlp_fast.inference.predictor import Predictor

CHARACTERS = 2_000
"""Of what is asked; models read some dozens of words."""
LINES = 20
"""Of texts at once."""
WORDS = 3
"""That are told for each mask."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """Something that can be asked.

    Attributes:
        ability: the method of a predictor.
        title: of the tool.
        label: of the field for words.
        button: what it is called.
        lines: of the field.
        pictures: that are asked about, 1 or 2.
        answer: HTML of what a model says to words about a picture, or about two.
    """

    ability: str
    title: str
    label: str
    button: str
    lines: int = 1
    pictures: int = 1
    answer: Callable[[Predictor, Sequence[Tensor], str], str]


def ask(tool: Tool, models: Sequence[Named], pictures: Sequence[Tensor], words: str) -> str:
    """Ask all models that have learnt it.

    Args:
        tool: what is asked for.
        models: of the page.
        pictures: (3, H, W) uint8; two to compare them, else one.
        words: what a visitor wrote.

    Returns:
        HTML; "" where nothing is asked.

    Raises:
        InputError, ValueError: for what cannot be asked.
    """
    if not words.strip():
        return ""
    if len(words) > CHARACTERS:
        raise InputError(
            f"received {len(words):,} characters, expected at most {CHARACTERS:,}; shorten it"
        )
    asked, able = words.strip(), having(models, tool.ability)
    replies = [
        _hints(tool, one.model, asked) + tool.answer(one.model, pictures, asked) for one in able
    ]
    return by_model([(one.name, reply) for one, reply in zip(able, replies, strict=True)])


def _hints(tool: Tool, model: Predictor, words: str) -> str:
    """Which texts are not read to their end; a text with masks is refused then."""
    texts = [] if tool.ability == "fill" else words.splitlines()
    return "".join(map(hint, model.cut_lines(texts)))


def _answer(model: Predictor, pictures: Sequence[Tensor], question: str) -> str:
    return _choice(model.answer(pictures[0], question))


def _entails(model: Predictor, pictures: Sequence[Tensor], hypothesis: str) -> str:
    return _choice(model.entails(pictures[0], hypothesis))


def _compare(model: Predictor, pictures: Sequence[Tensor], sentence: str) -> str:
    return _choice(model.compare(pictures[0], pictures[1], sentence))


def _choice(answer: Any) -> str:
    return said(answer.text) + bars(answer.ranked)


def _match(model: Predictor, pictures: Sequence[Tensor], texts: str) -> str:
    lines = [line.strip() for line in texts.splitlines() if line.strip()]
    if len(lines) > LINES:
        raise InputError(f"received {len(lines)} texts, expected at most {LINES}; leave some out")
    (shares,) = model.match([pictures[0]], lines)  # type: ignore[misc]
    return bars(zip(lines, shares.tolist(), strict=True))


def _fill(model: Predictor, pictures: Sequence[Tensor], masked: str) -> str:
    filled: Any = model.fill(pictures[0], masked, top=WORDS)
    return said(filled.text) + "".join(bars(words) for words in filled.words)


TOOLS = (
    Tool(ability="answer", title="Ask a question", label="Question", button="Ask", answer=_answer),
    Tool(
        ability="match",
        title="Does a text match?",
        label="Texts, a line each",
        button="Match",
        lines=3,
        answer=_match,
    ),
    Tool(
        ability="fill",
        title="Fill in a word",
        label="Text with [MASK] in place of words",
        button="Fill in",
        answer=_fill,
    ),
    Tool(
        ability="entails",
        title="Does it follow?",
        label="Hypothesis",
        button="Judge",
        answer=_entails,
    ),
    Tool(
        ability="compare",
        title="Compare with a second picture",
        label="Sentence about both pictures",
        button="Judge",
        pictures=2,
        answer=_compare,
    ),
)
"""In the order of the page."""
