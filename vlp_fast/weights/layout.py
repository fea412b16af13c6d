"""A layout of weights: how it is known, and which of its tensors is which of ours.

Tables are pairs of a regular expression and what it becomes. `spellings` are applied one after
another to every name and turn the variants of a layout into one; `pairs` name the whole of a tensor
of ours. Where ours is three of theirs, the third is behind an @: `in_proj_weight@0` of queries, 1
of keys, 2 of values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vlp_fast.errors import InputError
from vlp_fast.weights.state_file import StateFile

Pairs = tuple[tuple[str, str], ...]
Tensors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a caller says of the model that its tensors cannot say; None is not compared.

    Attributes:
        vocabulary: tokens in the order of their ids.
        classes: names of the object classes, in order.
        attributes: names of the attributes, in order.
        next_sentence: whether BERT's next-sentence head becomes the matching head.
    """

    vocabulary: Sequence[str] | None = None
    classes: Sequence[str] | None = None
    attributes: Sequence[str] | None = None
    next_sentence: bool = False


Adapt = Callable[[Tensors, StateFile, Asked], dict[str, str]]
"""Changes values under our names in place, and tells why it took any out: a part and a reason.

It sees tensors without values first, so it decides by names and shapes alone.
"""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to name weights.

    Attributes:
        name: with its article.
        mark: matches a name that this layout has and no layout behind it in the list.
        systems: class names of the models that it has anything for.
        pairs, spellings: tables, see above.
        adapt: what is more than a name.
        settings: of the Transformer, as far as the file and what lies beside it tell: num_heads,
            norm_first, activation. Shapes do not show them.
        vocabulary: SHA-256 of its `vocab.txt`, where all files of the layout have one.
        note: what whoever loads it should know.
    """

    name: str
    mark: str
    systems: tuple[str, ...]
    pairs: Pairs
    spellings: Pairs = ()
    adapt: Adapt = lambda values, file, asked: {}
    settings: Callable[[StateFile], dict[str, object]] = lambda file: {}
    vocabulary: str | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Renamed:
    """Tensors under our names.

    Attributes:
        values: whole tensors, by our names.
        sources: of each, the names in the file that it is made of.
        doubles: further names in the file of the same tensor, by them ours.
        left: names in the file that the layout has no place for.
    """

    values: Tensors
    sources: dict[str, tuple[str, ...]]
    doubles: dict[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()


def rename(file: StateFile, tensors: Mapping[str, Tensor], layout: Layout) -> Renamed:
    """Give tensors our names and put thirds together.

    Args:
        file: where they are from, for messages.
        tensors: by their names; without values, where only shapes are wanted.
        layout: its names.

    Raises:
        InputError: if thirds of a tensor do not fit together.
    """
    parts: dict[str, str] = {}
    doubles: dict[str, str] = {}
    left = []
    for _, name, own in sorted(_place(name, layout) for name in tensors):
        if own is None:
            left.append(name)
        elif own in parts:
            doubles[name] = own
        else:
            parts[own] = name
    values, sources = {}, {}
    for own, names in _wholes(parts).items():
        values[own] = _joined(file, [tensors[name] for name in names], names)
        sources[own] = names
    return Renamed(values=values, sources=sources, doubles=doubles, left=tuple(left))


def _place(name: str, layout: Layout) -> tuple[int, str, str | None]:
    """The number of the pair that names a tensor, its name and ours."""
    spelled = name
    for pattern, replacement in layout.spellings:
        spelled = re.sub(pattern, replacement, spelled)
    for number, (pattern, replacement) in enumerate(layout.pairs):
        if found := re.fullmatch(pattern, spelled):
            return number, name, found.expand(replacement)
    return len(layout.pairs), name, None


def _wholes(parts: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Names in the file of each tensor of ours; one with a third missing is none."""
    wholes: dict[str, tuple[str, ...]] = {}
    for own, name in parts.items():
        stem, is_third, _ = own.partition("@")
        thirds = [parts.get(f"{stem}@{third}") for third in range(3)] if is_third else [name]
        wholes[stem] = tuple(part for part in thirds if part is not None)
    return wholes


def _joined(file: StateFile, parts: list[Tensor], names: tuple[str, ...]) -> Tensor:
    if len(parts) == 1:
        return parts[0]
    for part, name in zip(parts, names, strict=True):
        if part.shape[1:] != parts[0].shape[1:] or not part.dim():
            raise InputError(
                f"{file.path}: {name} is {tuple(part.shape)} and {names[0]} "
                f"{tuple(parts[0].shape)}, expected the same width of queries, keys and values"
            )
    return torch.cat(parts)
