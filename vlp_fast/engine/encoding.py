"""Showing a trained model pictures and texts of one's choice: how evaluation asks its questions."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from vlp_fast.data.examples import Example
from vlp_fast.engine.experiment import Experiment
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.models.soho import Soho
from vlp_fast.ops.grid import Grid
from vlp_fast.ops.packing import Packing, make_packing
from vlp_fast.tasks.captioning import until_end
from vlp_fast.tasks.images import batch_images
from vlp_fast.tasks.texts import flat


def similar_examples(experiment: Experiment) -> Iterator[list[Example]]:
    """Held-out examples in batches of similar shape, none of one picture if there are more.

    Decoded batch by batch: all of them together may not fit in memory.
    """
    aspects, size = experiment.held_out.aspects(), experiment.run.train.batch_size
    order = sorted(range(experiment.held_out_count), key=lambda i: (aspects[i], i))
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [batches[-2] + batches[-1]]  # alone, a picture has none to be swapped with
    for batch in batches:
        yield [experiment.held_out_images.load(index, 0) for index in batch]


def encode_pairs(
    experiment: Experiment, texts: list[list[int]], examples: list[Example]
) -> tuple[Tensor, tuple[int, ...]]:
    """Encode text i with picture i; returns the packed rows and where each sequence begins."""
    hidden, _, packing = _encode(experiment, texts, examples)
    return hidden, packing.starts


def encode_images(experiment: Experiment, examples: list[Example]) -> tuple[Tensor, Grid, Packing]:
    """Encode pictures without a text; returns the memory with its grid and packing."""
    return _encode(experiment, [[] for _ in examples], examples)


def _encode(
    experiment: Experiment, texts: list[list[int]], examples: list[Example]
) -> tuple[Tensor, Grid, Packing]:
    model, device = experiment.model, experiment.precision.device
    images, sizes, grid = batch_images(examples, model.grid_sizes, model.pad_multiple)
    packing = make_packing([len(t) for t in texts], range(len(texts)), grid).to(device)
    images, grid, ids = images.to(device), grid.to(device), flat(texts).to(device)
    with experiment.precision.autocast():
        if isinstance(model, Soho):
            tokens = model.embed_image(images, grid, sizes)
            return model.encode(ids, tokens, None, grid, packing), grid, packing
        cells = model.features(images, grid, sizes)
        return model.encode(ids, cells, grid, packing), grid, packing


def captions(experiment: Experiment, examples: list[Example]) -> list[str]:
    """Greedy captions of pictures, from the image-only encoding."""
    model, tokenizer = experiment.model, experiment.tokenizer
    assert isinstance(model, E2EVLP)
    memory, grid, packing = encode_images(experiment, examples)
    with experiment.precision.autocast():
        ids = model.generate(
            memory,
            grid,
            packing,
            start_id=tokenizer.cls_id,
            end_id=tokenizer.sep_id,
            max_length=experiment.run.data.max_text_length,
        )
    return [tokenizer.decode(row) for row in until_end(ids, tokenizer.sep_id)]
