"""`vlp-fast recipes`: the recipes, a line each."""

from __future__ import annotations

from vlp_fast.cli.output import OutputFailure
from vlp_fast.errors import InputError
from vlp_fast.recipes import RECIPES


def run(words: list[str]) -> int:
    """Print name, length and step size of each recipe."""
    if words and words[0] not in ("-h", "--help"):
        raise InputError(f"`vlp-fast recipes` takes no arguments, received {' '.join(words)}")
    if words:
        print("usage: vlp-fast recipes")
        return 0
    try:
        _print()
    except OSError as error:  # of more than a buffer's bytes, what was not written is gone
        raise OutputFailure(*error.args) from None
    return 0


def _print() -> None:
    width = max(map(len, RECIPES))
    for name, make in RECIPES.items():
        run = make()
        length = f"{run.steps} steps" if run.steps else f"{run.train.epochs:g} epochs"
        images = run.train.batch_size * run.train.shards
        print(f"{name:{width}s} {length:12s} {images:5d} images a step")
