"""Files of a world in NLVR2's layout: three files of claims, and pictures by the pair.

A set is two left and two right pictures of one split, which make four pairs; its claims are said of
all four. The pictures are the world's: further names of the same files where the disk allows that,
else copies. A split of one picture has no set.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlp_fast.data.randomness import generator
from vlp_fast.data.world.annotations import SPLITS, dump_lines, file_name, of_split
from vlp_fast.data.world.groups import Facts
from vlp_fast.data.world.pairs import Claim, Pair, claims
from vlp_fast.data.world.scene import Scene

_PICTURES = 2  # of a split, so many more for each set
_WINDOW = 32  # pictures that a set is drawn from, the last of those so far
_DIRECTORIES = 100  # that the pictures for training lie in
_NAMES = {"train": "train", "val": "dev", "test": "test1"}


def write_nlvr2(folder: Path, everything: Sequence[Facts], seed: int) -> None:
    """Writes `nlvr2/{train,dev,test1}.json` and the pictures of their pairs.

    Set i of a split depends on the seed and the first 2 (i + 1) pictures of the split only.
    """
    for place, split in enumerate(SPLITS):
        facts, name = of_split(everything, split), _NAMES[split]
        (folder / "nlvr2" / _directory(name)).mkdir(parents=True)
        lines: list[dict[str, Any]] = []
        for number in range(len(facts) // _PICTURES):
            rng = generator(seed, place, number, "pairs")
            lefts, rights = _drawn_set(facts, number, rng)
            said = claims(lefts, rights, rng)
            for pair in range(4):
                left, right = lefts[pair // 2].scene, rights[pair % 2].scene
                _link_pair(folder, name, number, pair, (left, right))
                lines += _claim_lines(name, (number, pair), said, (left, right))
        dump_lines(folder / "nlvr2" / f"{name}.json", lines)


def _drawn_set(facts: Sequence[Facts], number: int, rng: np.random.Generator) -> tuple[Pair, Pair]:
    """Two left and two right pictures, four different ones where there are as many."""
    last = _PICTURES * (number + 1)
    window = facts[max(0, last - _WINDOW) : last]
    order = [window[i] for i in rng.permutation(len(window))]
    if len(order) < 4:
        order = [*order[:2], *(order[i] for i in rng.permutation(2))]
    return (order[0], order[1]), (order[2], order[3])


def _link_pair(
    folder: Path, name: str, number: int, pair: int, pictures: tuple[Scene, Scene]
) -> None:
    target = folder / "nlvr2" / _directory(name, number)
    target.mkdir(exist_ok=True)
    for side, scene in enumerate(pictures):
        source = folder / "images" / file_name(scene)
        copy = target / f"{name}-{number}-{pair}-img{side}.png"
        try:
            os.link(source, copy)
        except OSError:  # a file system without further names, or too many of one file
            shutil.copyfile(source, copy)


def _directory(name: str, number: int | None = None) -> Path:
    """Where the pictures of a split lie, or of a set: those for training in a hundred folders."""
    if name != "train":
        return Path(name)
    return Path("images", name, "" if number is None else str(number % _DIRECTORIES))


def _claim_lines(
    name: str, place: tuple[int, int], said: Sequence[Claim], pictures: tuple[Scene, Scene]
) -> Iterator[dict[str, Any]]:
    number, pair = place
    for i, claim in enumerate(said):
        label = str(claim.labels[pair])
        yield {
            "validation": {"0": label},
            "sentence": claim.sentence,
            "left_url": f"images/{file_name(pictures[0])}",
            "writer": "0",
            "label": label,
            "right_url": f"images/{file_name(pictures[1])}",
            "synset": "shape",
            "query": f"drawn shapes {number}",
            "identifier": f"{name}-{number}-{pair}-{i}",
            **(
                {"directory": str(number % _DIRECTORIES)}
                if name == "train"
                else {"extra_validations": {}}
            ),
        }
