"""A run's settings, and where they differ from its recipe's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlp_fast import recipes
from vlp_fast.engine.config import RunConfig
from vlp_fast.errors import InputError

PLACES = ("run_dir", "file", "init")
"""Texts that say where things are, which is nobody else's matter; so are all paths."""


def settings_of(run: RunConfig) -> dict[str, str]:
    """All settings by their names on the command line, as texts; without paths."""
    return {n: v for n, v in _flat(dataclasses.asdict(run)) if n not in PLACES}


def changed(run: RunConfig) -> list[tuple[str, str, str]]:
    """Settings that are not the recipe's: name, the run's, the recipe's.

    Of a recipe that is not the package's, nothing is known.
    """
    try:
        usual = settings_of(recipes.recipe(run.name))
    except InputError:
        return []
    return [
        (name, value, usual[name])
        for name, value in settings_of(run).items()
        if name in usual and usual[name] != value and not name.startswith("model.")
    ]


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, Path) or (isinstance(value, tuple) and _has_path(value)):
            continue
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", " ".join(map(str, value)) or "none"
        else:
            yield f"{prefix}{name}", str(value)


def _has_path(values: tuple[Any, ...]) -> bool:
    return any(isinstance(value, Path) for value in values)
