"""Recipes: functions that return a whole RunConfig. The papers' tables, and runs for a laptop.

captioning.py     captions
detection.py      detection with paired text
downstream.py     question answering, visual reasoning, visual entailment
e2e_vlp.py        E2E-VLP's
first_weights.py  files that the papers' recipes start from
from_file.py      one's own, from a file
retrieval.py      image-text retrieval
small.py          what the small recipes share
soho.py           SOHO's
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from vlp_fast.engine.config import RunConfig
from vlp_fast.errors import InputError
from vlp_fast.recipes import captioning, detection, downstream, e2e_vlp, retrieval, soho
from vlp_fast.recipes.from_file import load_file, recipe_from_file, restore_trained

__all__ = ["DOWNSTREAM", "PRETRAINING", "RECIPES", "load_file", "recipe", "restore_trained"]

PRETRAINING: dict[str, Callable[[], RunConfig]] = {**soho.RECIPES, **e2e_vlp.RECIPES}
DOWNSTREAM: dict[str, Callable[[], RunConfig]] = {
    **downstream.RECIPES,
    **captioning.RECIPES,
    **detection.RECIPES,
    **retrieval.RECIPES,
}
RECIPES: dict[str, Callable[[], RunConfig]] = {**PRETRAINING, **DOWNSTREAM}


def recipe(name: str) -> RunConfig:
    """The configuration of that name, or of a function in a file: "counting.py:tiny".

    Raises:
        InputError: if there is none; names the nearest.
    """
    if ":" in name or name.endswith(".py"):
        return recipe_from_file(name)
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else "`vlp-fast recipes` lists them"
        raise InputError(f"no recipe named {name!r}; {hint}")
    return RECIPES[name]()
