"""What lies beside weights: their vocabulary and their settings, which shapes do not show."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from vlp_fast.data.printable import printable
from vlp_fast.data.tokenizer import load_vocabulary
from vlp_fast.errors import InputError
from vlp_fast.layers.transformer import ACTIVATIONS, EncoderLayer
from vlp_fast.weights.layout import Layout
from vlp_fast.weights.state_file import StateFile

VOCABULARY = "vocabulary_sha256"
SETTINGS = "settings"
NAMES = "names"
"""In the header of a file of ours: the SHA-256 of its vocabulary; as json, settings of its model,
and what the rows of its heads stand for."""


def check_vocabulary(file: StateFile, layout: Layout, vocabulary: Sequence[str]) -> None:
    """Refuse word embeddings of another vocabulary; what is compared are the words, not how many.

    Args:
        file: the weights; their vocabulary is `vocab.txt` or `tokenizer.json` beside them, or in
            the run folder around their checkpoint, unless their header says that it is another.
        layout: theirs.
        vocabulary: the model's tokens, in the order of their ids.

    Raises:
        InputError: naming the first token that differs, or where to put the vocabulary if the
            weights have none.
    """
    theirs, here = vocabulary_of(file), checksum(vocabulary)
    known = file.metadata.get(VOCABULARY)
    if theirs is not None and known in (None, checksum(theirs)):
        _compare(file.path, theirs, vocabulary)
        return
    known = known or layout.vocabulary
    if known is None:
        raise InputError(
            f"{file.path}: has no vocab.txt beside it, and whether its words are this model's "
            "is not known; put the vocabulary of these weights there"
        )
    if known != here:
        raise InputError(
            f"{file.path}: is of another vocabulary: the SHA-256 of its vocab.txt begins with "
            f"{known[:8]}, that of this model's with {here[:8]}; give --data.vocabulary that file"
        )


def vocabulary_of(file: StateFile) -> tuple[str, ...] | None:
    """The tokens that lie beside weights, in the order of their ids.

    Raises:
        InputError: if the file of them cannot be read.
    """
    folder = file.path.parent
    around = [folder.parent] if (folder / "state.json").exists() else []
    for place in (folder, *around):
        if (place / "vocab.txt").exists():
            return load_vocabulary(place / "vocab.txt").vocabulary
    return _of_tokenizer(folder / "tokenizer.json")


def checksum(vocabulary: Sequence[str]) -> str:
    """SHA-256 of the `vocab.txt` of a vocabulary."""
    return hashlib.sha256("".join(f"{token}\n" for token in vocabulary).encode()).hexdigest()


def settings_of(model: nn.Module) -> dict[str, object]:
    """What the shapes of a Transformer do not show."""
    layer = next(part for part in model.modules() if isinstance(part, EncoderLayer))
    return {
        "num_heads": layer.attention.num_heads,
        "norm_first": layer.norm_first,
        "activation": next(n for n, f in ACTIVATIONS.items() if f is layer.ffn.activation),
    }


def check_settings(file: StateFile, layout: Layout, model: nn.Module, option: str) -> None:
    """Refuse weights of a Transformer that computes something else.

    Args:
        file: the weights.
        layout: theirs.
        model: what they are for.
        option: what gives them; it decides how another model is had.

    Raises:
        InputError: naming the first setting that differs.
    """
    here = settings_of(model)
    for name, value in layout.settings(file).items():
        if value != here[name]:
            raise InputError(
                f"{file.path}: is of {name} {value}, this model is of {here[name]}; give "
                f"{_way_to(option, name, value)}"
            )


def read_json(path: Path) -> dict[str, Any]:
    """A json object; an empty one if there is no such file.

    Raises:
        InputError: if there is one that cannot be read.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable json ({type(error).__name__})") from None
    return value if isinstance(value, dict) else {}


def _way_to(option: str, name: str, value: object) -> str:
    """How a model with a setting is had, where weights are given by an option."""
    flag = name.replace("_", "-")
    if option == "--init" and isinstance(value, bool):
        return f"--model.{flag}" if value else f"--model.no-{flag}"
    if option == "--init":
        return f"--model.{flag} {value}"
    if option == "IN":
        return f"--model the name of one that has {name} {value}"
    return f"a model with {name}={value!r}"


def _of_tokenizer(path: Path) -> tuple[str, ...] | None:
    """The tokens in a tokenizer.json, if there is one; they have the ids 0, 1, 2 and so on."""
    if not path.exists():
        return None
    model = read_json(path).get("model")
    ids = model.get("vocab") if isinstance(model, dict) else None
    numbers = list(ids.values()) if isinstance(ids, dict) else []
    are_ids = all(type(number) is int for number in numbers)
    if not ids or not are_ids or sorted(numbers) != list(range(len(numbers))):
        raise InputError(
            f"{path}: holds no WordPiece vocabulary; put the vocab.txt of these weights beside it"
        )
    return tuple(sorted(ids, key=ids.__getitem__))


def _compare(path: Path, theirs: Sequence[str], ours: Sequence[str]) -> None:
    for number, (there, here) in enumerate(zip(theirs, ours, strict=False)):
        if there != here:
            raise InputError(
                f"{path}: is of another vocabulary: token {number} is {printable(repr(there))} "
                f"there and {printable(repr(here))} here; give --data.vocabulary the weights' own"
            )
    if len(theirs) != len(ours):
        raise InputError(
            f"{path}: is of another vocabulary: {len(theirs)} tokens there, {len(ours)} here; give "
            "--data.vocabulary the weights' own"
        )
