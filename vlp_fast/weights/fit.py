"""What of a file has a place in a model, and whether it fits there.

A model is taken in parts: a layer, or what lies at its top. A part gets all of its tensors from a
file or none, so a deeper CNN is refused, while twelve layers go into three (the first three) and
six into twelve (six are new).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError
from vlp_fast.weights.layout import Renamed
from vlp_fast.weights.state_file import shortened

PART = re.compile(r"(?:en|de)coder\.(?:layers\.\d+|norm)|[^.]+")
COUNTERS = ("num_batches_tracked", "dictionary.step")
"""A file without them is complete; they are taken where they fit."""
AVERAGE = "dictionary.embed_avg"
"""What a dictionary of the paper's rule has no place for, and does well without."""

Tensors = Mapping[str, Tensor]


def part_of(name: str) -> str:
    """The part of the model that a tensor of ours is in."""
    found = PART.match(name)
    return found[0] if found else name


def check_fit(path: Path, kind: str, renamed: Renamed, own: Tensors) -> None:
    """Refuse tensors that are of another model, part by part.

    Args:
        path: their file.
        kind: what they are, for the message.
        renamed: tensors under our names.
        own: the model's.

    Raises:
        InputError: if the file has none of the model's parts; or naming the first tensor of a part
            that is only there, only here, or of another shape or kind of number.
    """
    parts = {part_of(name) for name in own if name in renamed.values}
    if not parts:
        raise InputError(f"{path}: is {kind}: none of its tensors has a place in this model")
    names = {name for name in {*own, *renamed.values} if part_of(name) in parts}
    _refuse_differing(path, kind, names, renamed, own)


def check_whole(path: Path, kind: str, renamed: Renamed, own: Tensors) -> None:
    """Refuse tensors that are not a network's, one and all; otherwise as `check_fit`."""
    _refuse_differing(path, kind, {*own, *renamed.values}, renamed, own)


def fitting(renamed: Renamed, own: Tensors) -> dict[str, Tensor]:
    """The tensors that have a place, once `check_fit` has passed."""
    return {
        name: value
        for name, value in renamed.values.items()
        if name in own and own[name].shape == value.shape
    }


def check_finite(path: Path, renamed: Renamed, taken: Tensors, own: Tensors) -> None:
    """Refuse values that are no numbers, or none in the model's kind of numbers.

    Args:
        path: their file.
        renamed: tensors under our names.
        taken: those that have a place.
        own: the model's.

    Raises:
        InputError: naming the first tensor that has NaN or infinity.
    """
    for name, value in taken.items():
        if value.is_floating_point() and not value.to(own[name].dtype).isfinite().all():
            raise InputError(
                f"{printable(path)}: {shortened(renamed.sources[name][0])} holds values that are "
                "NaN or infinite, and no model starts from these; download or save it again"
            )


def _refuse_differing(
    path: Path, kind: str, names: set[str], renamed: Renamed, own: Tensors
) -> None:
    values = renamed.values
    differing = sorted(
        name
        for name in names
        if _shown(values, name) != _shown(own, name) and not _is_optional(name, values, own)
    )
    if not differing:
        return
    first = differing[0]
    raise InputError(
        f"{path}: is {kind}: {len(differing)} tensors differ, the first is "
        f"{shortened(renamed.sources.get(first, (first,))[0])}: {_shown(values, first)} there, "
        f"{_shown(own, first)} here"
    )


def _is_optional(name: str, values: Tensors, own: Tensors) -> bool:
    """Whether a file may lack a tensor, or have one without a place or of no use here."""
    return name.endswith(COUNTERS) or (name.endswith(AVERAGE) and name not in own)


def _shown(tensors: Tensors, name: str) -> str:
    """Shape of a tensor, and that it holds whole numbers if it does."""
    if name not in tensors:
        return "none"
    value = tensors[name]
    kind = "" if value.is_floating_point() else f" of {str(value.dtype).removeprefix('torch.')}"
    return f"{tuple(value.shape)}{kind}"
