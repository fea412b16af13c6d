"""`vlp-fast data make-world`: draw a data set with known truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

USAGE = "usage: vlp-fast data make-world OUT [--images N] [--seed S] [--bounds small]"


def run(words: list[str]) -> int:
    """Draw the world."""
    if not words or words[0] != "make-world":
        print(USAGE)
        return 0 if words and words[0] in ("-h", "--help") else 2
    import tyro

    from vlp_fast.cli.options import parse

    config = (tyro.conf.PositionalRequiredArgs,)
    world = parse(World, words[1:], "vlp-fast data make-world", config=config)
    from vlp_fast.data.world.bounds import BOUNDS
    from vlp_fast.data.world.layouts import make_world

    make_world(world.out, images=world.images, seed=world.seed, bounds=BOUNDS[world.bounds])
    print(f"{world.images} pictures in {world.out}; train with --data.root {world.out}")
    return 0


@dataclass(frozen=True, kw_only=True)
class World:
    """Draw pictures of shapes with captions, boxes and attributes in the official layouts."""

    out: Path
    """The folder to make."""
    images: int = 1200
    """How many pictures."""
    seed: int = 0
    """The same seed draws the same bytes."""
    bounds: Literal["world", "small"] = "world"
    """World: up to eight objects of eight kinds and colours. Small: pictures of 64 pixels with one
    or two objects of four kinds and colours, for runs of minutes."""
