"""The models of a page, each under a name that tells it from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from vlp_fast.errors import InputError
from vlp_fast.inference.predictor import Predictor, load
from vlp_fast.inference.results import Objects


@dataclass(frozen=True, kw_only=True, eq=False)
class Named:
    """A model of a page.

    Attributes:
        name: its own on this page.
        model: asked about pictures.
    """

    name: str
    model: Predictor


def load_models(given: Sequence[str], folders: Sequence[Path], device: str) -> list[Named]:
    """Load models for a page.

    Args:
        given: what each was called.
        folders: where each is.
        device: as of `load`.

    Raises:
        InputError: if one cannot be loaded, or none can be asked anything.
    """
    loaded = [load(folder, device=device) for folder in folders]
    models = [
        Named(name=name, model=model) for name, model in zip(names_of(given), loaded, strict=True)
    ]
    if not any(one.model.abilities for one in models):
        raise InputError(f"{', '.join(given)}: has learnt nothing that can be asked; give another")
    return models


def names_of(given: Sequence[str]) -> list[str]:
    """The shortest ends of paths, of as many parts each, that tell all apart."""
    parts = [PurePath(name).parts or (name,) for name in given]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len({*names}) == len(names):
            return names
    return [f"{name} ({number})" for number, name in enumerate(given, start=1)]


def having(models: Sequence[Named], ability: str) -> list[Named]:
    """Those that have learnt it."""
    return [one for one in models if ability in one.model.abilities]


def names(found: Objects) -> list[str]:
    """What is called what, with its attribute where the model knows one."""
    if not found.attributes:
        return list(found.labels)
    return [f"{kind} {label}" for kind, label in zip(found.attributes, found.labels, strict=True)]
