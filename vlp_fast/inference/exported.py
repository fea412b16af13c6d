"""A trained model to hand on: a folder with its weights, settings, words, and a card.

    model.safetensors   the model and its head
    config.json         what `description.Description` says
    vocab.txt           its words
    README.md           the card
    program.pt2         what `program.export_program` wrote, if it was asked for

Nothing of the run's paths is in it, and it is loaded without the run's data.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from vlp_fast import __version__
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError
from vlp_fast.inference.card import card_of
from vlp_fast.inference.description import CONFIG, Description
from vlp_fast.inference.trained import Trained, load_trained
from vlp_fast.weights.checkpoints import MODEL
from vlp_fast.whole_file import sync, write_json, write_whole

Format = Literal["fp32", "fp16", "bf16"]
FORMATS: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


def export(
    run_dir: Path, folder: Path, *, format: Format = "fp32", notes: dict[str, str] | None = None
) -> Description:
    """Write a folder that `load` takes, whole or not at all.

    Args:
        run_dir: a run's folder, or an exported one.
        folder: to write, which is not there yet.
        format: of the weights on disk; buffers that count and codes stay float32.
        notes: of the card: "licence" of the data, "use" that is meant.

    Raises:
        InputError: if the folder is there or cannot be written, or the run has no model.
    """
    if os.path.lexists(folder):
        raise InputError(f"{printable(folder)}: is there already; delete it, or give another DIR")
    trained = load_trained(run_dir, device="cpu", precision="fp32")
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write(trained, run_dir, partial, format, notes or {})
        partial.rename(folder)
        sync(folder.parent)
    except (OSError, SafetensorError) as error:  # of a full disk it makes its own error
        reason = getattr(error, "strerror", None) or printable(error)
        raise InputError(f"{printable(folder)}: cannot be written ({reason})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return trained.about


def _write(
    trained: Trained, run_dir: Path, folder: Path, format: Format, notes: dict[str, str]
) -> None:
    tensors = {name: _stored(value, FORMATS[format]) for name, value in _state(trained).items()}
    header = {"format": "pt", "vlp_fast": __version__}
    write_whole(folder / MODEL, lambda path: save_file(tensors, path, header))
    (folder / MODEL).chmod(0o644)  # safetensors writes files that nobody else may read
    write_json(folder / CONFIG, trained.about.as_json())
    write_whole(folder / "vocab.txt", trained.tokenizer.save)
    card = card_of(trained, run_dir, format, notes)
    write_whole(folder / "README.md", lambda path: path.write_text(card, encoding="utf-8"))


def _state(trained: Trained) -> dict[str, Tensor]:
    """By the names that checkpoints have."""
    parts: dict[str, Any] = {"model": trained.model, "heads": trained.classifier}
    return {
        f"{part}.{name}": value
        for part, module in parts.items()
        if module is not None
        for name, value in module.state_dict().items()
    }


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy; only float32 is shortened, and no statistic whose range that dtype has not."""
    if value.dtype != torch.float32:
        return value.clone().contiguous()
    shortened = value.to(dtype).contiguous()
    fits = bool(torch.isfinite(shortened).all()) or not bool(torch.isfinite(value).all())
    return shortened if fits else value.clone().contiguous()
