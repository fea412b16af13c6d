"""Showing a trained model pictures and texts of one's choice: how an evaluation asks questions."""

from __future__ import annotations

from torch import Tensor

from vlp_fast.data.examples import Example
from vlp_fast.models.model import VisionLanguageModel
from vlp_fast.ops.grid import Grid
from vlp_fast.ops.packing import Packing, make_packing
from vlp_fast.tasks.held_out import Runtime
from vlp_fast.tasks.images import batch_images
from vlp_fast.tasks.inputs import flat


def encode_pairs(
    model: VisionLanguageModel, runtime: Runtime, texts: list[list[int]], examples: list[Example]
) -> tuple[Tensor, tuple[int, ...]]:
    """Encode text i with picture i; returns the packed rows and where each sequence begins."""
    hidden, _, packing = _encode(model, runtime, texts, examples)
    return hidden, packing.starts


def encode_images(
    model: VisionLanguageModel, runtime: Runtime, examples: list[Example]
) -> tuple[Tensor, Grid, Packing]:
    """Encode pictures without a text; returns the memory with its grid and packing."""
    return _encode(model, runtime, [[] for _ in examples], examples)


def _encode(
    model: VisionLanguageModel, runtime: Runtime, texts: list[list[int]], examples: list[Example]
) -> tuple[Tensor, Grid, Packing]:
    device = runtime.device
    images, sizes, grid = batch_images(examples, model)
    packing = make_packing([len(t) for t in texts], range(len(texts)), grid).to(device)
    images, grid, ids = images.to(device), grid.to(device), flat(texts).to(device)
    with runtime.autocast():
        seen = model.see(images, grid, sizes)
        return model.read(ids, seen, grid, packing), grid, packing
