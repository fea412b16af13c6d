"""How long the papers' runs take, by arithmetic: docs/reproduce.md has the formula and the rows.

    python experiments/gpu_hours.py

Counted are the operations of one picture and of one text beside it, forward, by the formulas of
PyTorch and of our operators (a multiply-add counts two). Nothing is timed, and no GPU is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from vlp_fast import create_model
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.models.model import Seen, VisionLanguageModel
from vlp_fast.ops.grid import make_grid
from vlp_fast.ops.packing import make_packing, uniform_packing
from vlp_fast.recipes import recipe

WORDS = 16
"""Tokens of a text."""
SIZES = {"soho": (600, 800), "e2e_vlp": (640, 853)}
"""Height and width of a picture of 640 x 480 as SOHO trains on it; E2E-VLP in the middle."""
BACKWARD = 2
"""A backward pass is two forward passes."""
PEAKS = {"V100": 125e12, "H200": 989e12}
"""Operations a second in half precision, by NVIDIA's data sheets."""
USED = 0.3
"""The part of them that a step is taken to use."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Operations of a model forward: a picture in the CNN, a text beside it, either decoder."""

    picture: int
    pair: int
    detect: int = 0
    caption: int = 0


@dataclass(frozen=True, kw_only=True)
class Run:
    """A stage of training: samples an epoch, and how often a sample passes each part."""

    samples: int
    pictures: int = 1
    pairs: int = 1
    detections: int = 0
    captions: int = 0

    def operations(self, counts: Counts) -> int:
        """Of one sample, forward."""
        parts = (counts.picture, counts.pair, counts.detect, counts.caption)
        often = (self.pictures, self.pairs, self.detections, self.captions)
        return sum(part * times for part, times in zip(parts, often, strict=True))


# Samples: see docs/reproduce.md. E2E-VLP encodes each picture twice, with its text and alone.
PRETRAINING = {
    "soho": Run(samples=180_000, pairs=4),
    "e2e_vlp": Run(samples=180_000, pairs=2, detections=1, captions=1),
}
VQA = 443_757 + 214_354
RUNS = {
    "soho_r101_12": PRETRAINING["soho"],
    "soho_r18_3": PRETRAINING["soho"],
    "vqa_soho_r101_12": Run(samples=VQA),
    "nlvr2_soho_r101_12": Run(samples=86_373, pictures=2, pairs=2),
    "ve_soho_r101_12": Run(samples=529_527),
    "retrieval_soho_r101_12": Run(samples=113_287, pairs=24),
    "e2e_vlp_r50_6": PRETRAINING["e2e_vlp"],
    "e2e_vlp_r101_6": PRETRAINING["e2e_vlp"],
    "e2e_vlp_r152_6": PRETRAINING["e2e_vlp"],
    "e2e_vlp_r50_12": PRETRAINING["e2e_vlp"],
    "e2e_vlp_r101_12": PRETRAINING["e2e_vlp"],
    "e2e_vlp_r152_12": PRETRAINING["e2e_vlp"],
    "vqa_e2e_vlp_r152_12": Run(samples=VQA),
    "nlvr2_e2e_vlp_r152_12": Run(samples=86_373, pictures=2, pairs=2),
    "captioning_e2e_vlp_r152_12": Run(samples=113_287, captions=1),
    "retrieval_e2e_vlp_r152_12": Run(samples=29_000, pairs=21),
    "detection_e2e_vlp_r50_6": Run(samples=118_287, detections=1),
}


def main() -> None:
    """Print the rows of both tables."""
    counted: dict[str, Counts] = {}
    for name in RUNS:
        model = name[name.index("e2e_vlp" if "e2e_vlp" in name else "soho") :]
        if model not in counted:
            counted[model] = counts_of(model)
            print(count_row(model, counted[model]))
    for name, run in RUNS.items():
        model = name[name.index("e2e_vlp" if "e2e_vlp" in name else "soho") :]
        print(hours_row(name, run, counted[model]))


def counts_of(name: str) -> Counts:
    """Operations of the model of that name."""
    torch.manual_seed(0)
    model = create_model(name).eval()
    size = SIZES["e2e_vlp" if name.startswith("e2e_vlp") else "soho"]
    grid = make_grid(*model.grid_sizes([size], size))
    packing = make_packing([WORDS], [0], grid)
    pixels = torch.zeros((1, 3, *size), dtype=torch.uint8)
    text = torch.arange(WORDS)
    with torch.no_grad():
        picture, cells = counted(lambda: model.features(pixels, grid, [size]))
        pair, memory = counted(lambda: read(model, text, cells, grid, packing))
        if not isinstance(model, E2EVLP):
            return Counts(picture=picture, pair=pair)
        caption = uniform_packing(1, WORDS)
        return Counts(
            picture=picture,
            pair=pair,
            detect=counted(lambda: model.detect(memory, grid, packing))[0],
            caption=counted(lambda: model.caption_logits(text, caption, memory, grid, packing))[0],
        )


def read(model: VisionLanguageModel, text, cells, grid, packing):
    """The encoder's rows, SOHO's with codes in place of its cells."""
    return model.read(text, Seen(cells=cells), grid, packing)


def counted(compute: Callable[[], torch.Tensor]) -> tuple[int, torch.Tensor]:
    """Operations, and the result."""
    with FlopCounterMode(display=False) as counter:
        made = compute()
    return counter.get_total_flops(), made


def count_row(model: str, counts: Counts) -> str:
    """A row of the table of models, in GFLOP."""
    numbers = (counts.picture, counts.pair, counts.detect, counts.caption)
    cells = (f"{number / 1e9:.1f}" if number else "" for number in numbers)
    height, width = SIZES["e2e_vlp" if model.startswith("e2e_vlp") else "soho"]
    return f"| `{model}` | {height}x{width} | {' | '.join(cells)} |"


def hours_row(name: str, run: Run, counts: Counts) -> str:
    """A row of the table of runs."""
    asked = recipe(name)
    epochs = asked.train.epochs
    steps = epochs * run.samples / (asked.train.batch_size * asked.train.shards)
    total = (1 + BACKWARD) * run.operations(counts) * epochs * run.samples
    hours = {gpu: total / (USED * peak) / 3600 for gpu, peak in PEAKS.items()}
    return (
        f"| `{name}` | {run.samples:,} | {epochs:g} | {steps:,.0f} | {total / 1e18:.3g} "
        f"| {two_digits(hours['V100'])} | {two_digits(hours['H200'])} |"
    )


def two_digits(number: float) -> str:
    """A number that claims no more: 34, 1,200."""
    return f"{float(f'{number:.2g}'):,g}"


if __name__ == "__main__":
    main()
