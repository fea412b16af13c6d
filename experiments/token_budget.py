"""What a token budget a shard could give: how unequal shards are without one.

    python experiments/token_budget.py captions_train2017.json --steps 200

Reads the sizes of pictures from a file of COCO and puts them into the order of the papers' recipes,
where a step's shards are of similar aspect. Printed are, of the cells of shards with their padding:
the slowest of a step beside the step's mean (the time that equal shards would save where each
process has one), and the largest of all beside the mean of all (the memory that they would save).
Fewer sizes than an epoch of COCO has are drawn with repetition.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vlp_fast.data.order import SampleOrder
from vlp_fast.data.transforms import resized
from vlp_fast.recipes import PRETRAINING

COCO = 118_287
STRIDES = {"soho": 64, "e2e_vlp": 32}
"""Pixels a cell of the Transformer's picture."""


def main() -> None:
    """Print a line a recipe."""
    options = read_options()
    sizes = read_sizes(options.file)
    for name in ("soho_r18_3", "soho_r101_12", "e2e_vlp_r101_6"):
        for one_size in (False, True):
            cells = np.array(list(shards_of_steps(name, sizes, options.steps, one_size)))
            slowest = (cells.max(1) / cells.mean(1)).mean()
            largest = cells.max() / cells.mean()
            print(f"{name:15} one_size={one_size!s:5}  {slowest:.3f}  {largest:.2f}")


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("file", type=Path, help="annotations of COCO, for the sizes of its images")
    parser.add_argument("--steps", type=int, default=200)
    return parser.parse_args()


def read_sizes(file: Path) -> np.ndarray:
    """(118287, 2) heights and widths."""
    images = json.loads(file.read_text())["images"]
    sizes = np.array([(image["height"], image["width"]) for image in images])
    return sizes[np.random.default_rng(0).integers(len(sizes), size=COCO)]


def shards_of_steps(
    name: str, sizes: np.ndarray, steps: int, one_size: bool
) -> Iterator[list[int]]:
    """The cells of each shard of each step."""
    recipe = PRETRAINING[name]()
    images, shards = recipe.train.batch_size, recipe.train.shards
    stride = STRIDES[name.rsplit("_", 2)[0]]
    order = SampleOrder(len(sizes), images * shards, 0, aspects=sizes[:, 1] / sizes[:, 0])
    draw = np.random.default_rng(1)
    for step in range(steps):
        step_sizes = sizes[order.batch(step)[1]].reshape(shards, images, 2)
        shorter = draw.choice(recipe.data.shorter, (shards, 1 if one_size else images))
        yield [
            padded_cells(shard, np.broadcast_to(sides, images), recipe.data.longer, stride)
            for shard, sides in zip(step_sizes, shorter, strict=True)
        ]


def padded_cells(sizes: np.ndarray, shorter: np.ndarray, longer: int | None, stride: int) -> int:
    """Cells of a shard's pictures, all as high and wide as the largest."""
    drawn = [
        resized((int(height), int(width)), int(side), longer)
        for (height, width), side in zip(sizes, shorter, strict=True)
    ]
    height, width = np.ceil(np.max(drawn, axis=0) / stride).astype(int)
    return len(drawn) * int(height * width)


if __name__ == "__main__":
    main()
