"""Dotted names of all settings that a recipe or a benchmark has."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from vlp_fast.benchmarks.bench import Request
from vlp_fast.engine.config import RunConfig
from vlp_fast.recipes import RECIPES, recipe


def all_settings() -> set[str]:
    """Dotted names of all settings of all recipes, and of benchmarks."""
    found = {name for kind in RECIPES for name in dotted(recipe(kind))}
    return found | set(dotted(Request()))


def dotted(config: RunConfig | Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of a dataclass's fields, and of those below them."""
    for field in fields(config):
        value = getattr(config, field.name)
        yield f"{prefix}{field.name}"
        if is_dataclass(value):
            yield from dotted(value, f"{prefix}{field.name}.")
