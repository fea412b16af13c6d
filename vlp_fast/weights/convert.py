"""From a file of weights to tensors under our names: known, compared, then read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from vlp_fast.errors import InputError
from vlp_fast.models.model import VisionLanguageModel
from vlp_fast.weights import own
from vlp_fast.weights.bert import BERT
from vlp_fast.weights.beside import check_settings, check_vocabulary
from vlp_fast.weights.detr import DETR, HUGGING_FACE_DETR
from vlp_fast.weights.fit import check_finite, check_fit, fitting
from vlp_fast.weights.layout import Asked, Layout, Renamed, rename
from vlp_fast.weights.loaded import Loaded
from vlp_fast.weights.soho_official import SOHO_OFFICIAL
from vlp_fast.weights.state_file import StateFile, read_state_file, shortened
from vlp_fast.weights.torchvision import HUGGING_FACE_RESNET, TORCHVISION

LAYOUTS = (
    SOHO_OFFICIAL,
    own.SOHO,
    own.E2E_VLP,
    DETR,
    HUGGING_FACE_DETR,
    BERT,
    TORCHVISION,
    HUGGING_FACE_RESNET,
    own.IN_PART,
)
"""In the order in which a file is compared with their marks."""

SYSTEMS = {"Soho": "SOHO", "E2EVLP": "E2E-VLP"}
WORDS = "text_embeddings.word_embeddings.weight"


@dataclass(frozen=True, kw_only=True, eq=False)
class Converted:
    """Weights under a model's names.

    Attributes:
        tensors: those that have a place in the model, of its shapes.
        record: what becomes of the file when they are loaded.
        file: where they are from.
        layout: theirs.
    """

    tensors: dict[str, Tensor]
    record: Loaded
    file: StateFile
    layout: Layout


def convert_weights(model: VisionLanguageModel, path: Path, asked: Asked, option: str) -> Converted:
    """Read what a file has for a model, without changing the model.

    Shapes, settings and vocabulary are compared before a value is read.

    Args:
        model: of either system; it may be on the meta device.
        path: a file, or a folder of ours or of Hugging Face's.
        asked: what the model's tensors do not tell.
        option: what gives the path, for the message where it is missing.

    Raises:
        InputError: in one line, if the file is unfit, unknown, of another system, size or
            vocabulary.
    """
    file = read_state_file(own.weights_in(path), option)
    layout = recognise(file)
    _check_system(file, layout, model)
    place = model.state_dict()
    outline, _ = _arrange(file, {n: t.to("meta") for n, t in file.tensors.items()}, layout, asked)
    if any(name.startswith("encoder.") for name in outline.values):
        check_settings(file, layout, model, option)
    notes = [layout.note] if layout.note else []
    if WORDS in outline.values:
        if asked.vocabulary is None:
            notes.append("vocabularies were not compared")
        else:
            check_vocabulary(file, layout, asked.vocabulary)
    check_fit(file.path, f"{layout.name} of another size", outline, place)
    arranged, reasons = _arrange(file, file.tensors, layout, asked)
    tensors = fitting(arranged, place)
    check_finite(file.path, arranged, tensors, place)
    record = _record(file, layout, arranged, tensors, place)
    record = replace(record, reasons=reasons, notes=tuple(notes))
    return Converted(tensors=tensors, record=record, file=file, layout=layout)


def recognise(file: StateFile) -> Layout:
    """The layout of a file, by its names.

    Raises:
        InputError: if it is none of those that are known.
    """
    for layout in LAYOUTS:
        if any(re.fullmatch(layout.mark, name) for name in file.tensors):
            return layout
    first = next(iter(file.tensors), None)
    begins = f"begins with {shortened(first)}" if first else "holds no tensor"
    raise InputError(
        f"{file.path}: {begins} and is of no known layout; expected a ResNet of torchvision's, a "
        "BERT or a DETR, the published SOHO, or weights of our own"
    )


def _check_system(file: StateFile, layout: Layout, model: VisionLanguageModel) -> None:
    system = type(model).__name__
    if system not in layout.systems:
        takers = " or ".join(SYSTEMS[name] for name in layout.systems)
        raise InputError(
            f"{file.path}: is {layout.name}, which has nothing for {SYSTEMS.get(system, system)}; "
            f"expected weights for it (these are for {takers})"
        )


def _arrange(
    file: StateFile, tensors: Mapping[str, Tensor], layout: Layout, asked: Asked
) -> tuple[Renamed, dict[str, str]]:
    """Tensors under our names, the doubtful ones decided; and why parts are new."""
    renamed = rename(file, tensors, layout)
    return renamed, layout.adapt(renamed.values, file, asked)


def _record(
    file: StateFile,
    layout: Layout,
    arranged: Renamed,
    tensors: Mapping[str, Tensor],
    place: Mapping[str, Tensor],
) -> Loaded:
    used = {source for name in tensors for source in arranged.sources[name]}
    for name, double in arranged.doubles.items():
        if double in tensors and torch.equal(file.tensors[name], tensors[double]):
            used.add(name)
    return Loaded(
        path=file.path,
        layout=layout.name,
        loaded=tuple(tensors),
        left=tuple(name for name in file.tensors if name not in used),
        new=tuple(name for name in place if name not in tensors),
    )
