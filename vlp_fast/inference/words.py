"""Texts as the model reads them, and the words that it fills in."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from vlp_fast.data.tokenizer import Tokenizer

MASK = "[MASK]"


class CutText(UserWarning):
    """A text is longer than what a model reads, and its end is not read."""


def encoded(tokenizer: Tokenizer, text: str, length: int, what: str) -> list[int]:
    """Token ids of a text that has a word; a `CutText` warns of what is not read of it.

    Raises:
        TypeError: if it is none.
        ValueError: if it is empty, or no Unicode text.
    """
    if not isinstance(text, str):
        raise TypeError(f"{what}: received {type(text).__name__}, expected a text")
    if not text.strip():
        raise ValueError(f"{what}: received an empty text, expected a word at least")
    _check_characters(text, what)
    if is_cut(tokenizer, text, length):
        warnings.warn(f"{what}: {cut_line(text, length)}", CutText, stacklevel=5)
    return tokenizer.encode(text, length)


def is_cut(tokenizer: Tokenizer, text: str, length: int) -> bool:
    """Whether a text has more tokens than are read."""
    return len(tokenizer.encode(text, length + 1)) > length


def cut_line(text: str, length: int) -> str:
    """What is to be known of a text that is cut."""
    shown = f"{text[:40]!r}{'..' if len(text) > 40 else ''}"
    return (
        f"received {shown}, of which the model reads {length - 2} tokens, as it has learnt to; its "
        "end changes nothing"
    )


def cut_lines(tokenizer: Tokenizer, texts: Iterable[str], length: int) -> list[str]:
    """What is to be known of those texts that are cut, a line each.

    Texts that are no Unicode are refused when they are read, and looked at here all the same.
    """
    encodable = ((text, text.encode(errors="replace").decode()) for text in texts)
    return [cut_line(text, length) for text, shown in encodable if is_cut(tokenizer, shown, length)]


def encoded_masks(tokenizer: Tokenizer, text: str, length: int) -> tuple[list[int], list[int]]:
    """Token ids of a text in which `[MASK]` stands for a word, and the places of the masks.

    Raises:
        TypeError: if it is no text.
        ValueError: if there is no mask, it is no Unicode text, or longer than what a model reads.
    """
    if not isinstance(text, str) or MASK not in text:
        raise ValueError(f"fill: received {text!r:.60}, expected a text with {MASK}")
    _check_characters(text, "fill")
    # The parts are read by themselves: a tokenizer takes the mask's brackets for punctuation.
    parts = [tokenizer.encode(part, len(part) + 3)[1:-1] for part in text.split(MASK)]
    ids = [tokenizer.cls_id, *parts[0]]
    places = []
    for part in parts[1:]:
        places.append(len(ids))
        ids += [tokenizer.mask_id, *part]
    ids.append(tokenizer.sep_id)
    if len(ids) > length:
        raise ValueError(
            f"fill: received a text of {len(ids)} tokens, expected at most the {length} that the "
            "model has learnt to read; shorten it"
        )
    return ids, places


def _check_characters(text: str, what: str) -> None:
    """Foreign bytes become halves of surrogate pairs in Python, which no tokenizer takes."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{what}: received {text!r:.60}, which is no Unicode text; give UTF-8")
