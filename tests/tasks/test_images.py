"""A batch's pictures: padded as the model asks, and a grid of the cells that they fill."""

from dataclasses import replace

import pytest
import torch
from rebuilt import with_setup

from vlp_fast.data.examples import Example
from vlp_fast.models.config import SohoConfig, official
from vlp_fast.models.soho import Soho
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.images import Pictures, Sizes, batch_images
from vlp_fast.tasks.pretraining.e2e_vlp import E2EVLPPretraining
from vlp_fast.tasks.pretraining.soho import SohoPretraining


def halves(sizes: Sizes, padded: tuple[int, int]) -> tuple[Sizes, tuple[int, int]]:
    """Cells of two by two pixels."""
    return tuple((h // 2, w // 2) for h, w in sizes), (padded[0] // 2, padded[1] // 2)


@pytest.mark.parametrize(("multiple", "padded"), [(1, (80, 96)), (64, (128, 128))])
def test_pictures_lie_in_the_top_left_of_a_multiple(
    soho: Soho,
    examples: list[Example],
    multiple: int,
    padded: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Soho, "pad_multiple", multiple)
    monkeypatch.setattr(soho, "grid_sizes", halves)
    shapes = [tuple(e.image.shape[1:]) for e in examples]
    chosen = [examples[shapes.index(size)] for size in ((64, 64), (64, 96), (80, 64))]
    images, sizes, grid = batch_images(chosen, soho)
    assert images.shape == (3, 3, *padded)
    assert sizes == ((64, 64), (64, 96), (80, 64))
    assert (grid.sizes, grid.map_size) == halves(sizes, padded)
    for image, example, (height, width) in zip(images, chosen, sizes, strict=True):
        assert torch.equal(image[:, :height, :width], example.image)
        assert not image[:, height:].any()
        assert not image[:, :, width:].any()


def test_only_the_published_soho_pads_to_32(
    soho_task: SohoPretraining,
    e2e_vlp_task: E2EVLPPretraining,
    soho_config: SohoConfig,
    examples: list[Example],
) -> None:
    odd = [replace(e, image=e.image[:, :50, :61]) for e in examples[:2]]
    key = BatchKey(soho_task.train, 0, None)
    assert soho_task.collate(odd, key).images.shape == (2, 3, 50, 61)
    assert e2e_vlp_task.collate(odd, key).images.shape == (2, 3, 50, 61)
    published = with_setup(soho_task, model=official(soho_config))
    assert published.collate(odd, key).images.shape == (2, 3, 64, 64)


def test_a_canvas_multiple_rounds_up_what_the_model_pads_to(
    soho: Soho, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Soho, "pad_multiple", 32)
    monkeypatch.setattr(soho, "canvas_multiple", 48)
    images, _, _ = batch_images(examples[:1], soho)
    assert images.shape[2:] == (96, 96)


def test_pixels_are_those_of_the_pictures_and_of_the_canvas(
    soho: Soho, examples: list[Example]
) -> None:
    shapes = [e.size for e in examples]
    chosen = [examples[shapes.index(size)] for size in ((64, 64), (80, 64))]
    images, sizes, grid = batch_images(chosen, soho)
    inputs = Pictures(images=images, image_sizes=sizes, grid=grid)
    assert inputs.pixels == (64 * 64 + 80 * 64, 2 * 80 * 64)
