"""Converted weights as safetensors of our own, with what tensors do not tell in the header."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from vlp_fast import __version__
from vlp_fast.errors import InputError
from vlp_fast.models.config import model_config
from vlp_fast.weights.beside import (
    NAMES,
    SETTINGS,
    VOCABULARY,
    checksum,
    settings_of,
    vocabulary_of,
)
from vlp_fast.weights.convert import WORDS, Converted, convert_weights
from vlp_fast.weights.layout import Asked
from vlp_fast.weights.loaded import Loaded
from vlp_fast.weights.own import HEADS, LAYOUTS, row_names
from vlp_fast.whole_file import write_whole


def convert_file(
    path: Path, out: Path, name: str, vocabulary: Sequence[str] | None = None
) -> Loaded:
    """Write what a file of weights has for a named model, under our names.

    Only that: what is new to the model is not in it, and stays random where the file is loaded.

    Args:
        path: the weights; whatever `load_weights` takes.
        out: the safetensors file to write.
        name: of a model.
        vocabulary: that the model is to be trained with; None for the weights' own.

    Returns:
        What was taken and what was left.

    Raises:
        InputError: if the weights are refused, or the file cannot be written.
    """
    config = model_config(name)
    if vocabulary is not None:
        config = replace(config, vocab_size=len(vocabulary))
    with torch.device("meta"):
        model = config.build()
    converted = convert_weights(model, path, Asked(vocabulary=vocabulary), "IN")
    header = {"format": "pt", "vlp_fast": __version__, "model": name}
    header |= {"from": converted.file.path.name, "layout": converted.record.layout}
    header |= {SETTINGS: json.dumps(settings_of(model)), **_words(converted, vocabulary)}
    header |= _rows(converted)
    tensors = {name: value.clone().contiguous() for name, value in converted.tensors.items()}
    try:
        write_whole(out, lambda partial: _save(tensors, partial, header))
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error})") from None
    return converted.record


def _save(tensors: dict[str, Tensor], path: Path, header: dict[str, str]) -> None:
    try:
        save_file(tensors, path, header)
    except SafetensorError as error:  # a full disk, for example
        raise OSError(str(error)) from None


def _rows(converted: Converted) -> dict[str, str]:
    """What the rows of the heads that were taken stand for, where our own weights say it."""
    if converted.layout not in LAYOUTS:
        return {}
    known = row_names(converted.file)
    names = {kind: known[kind] for kind in HEADS.values() if isinstance(known.get(kind), list)}
    return {NAMES: json.dumps(names)} if names else {}


def _words(converted: Converted, vocabulary: Sequence[str] | None) -> dict[str, str]:
    """The checksum of the vocabulary that the weights are of, if there is one and it is known."""
    if WORDS not in converted.tensors:
        return {}
    tokens = vocabulary_of(converted.file) if vocabulary is None else vocabulary
    known = converted.layout.vocabulary or converted.file.metadata.get(VOCABULARY)
    digest = checksum(tokens) if tokens is not None else known
    return {VOCABULARY: digest} if digest else {}
