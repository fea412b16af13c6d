"""Which cells masked visual modelling hides: the paper's rule, and the published code's."""

import pytest
import torch
from torch import Tensor

from vlp_fast.models.label_masking import mask_random_label, mask_shared_position
from vlp_fast.ops.grid import Grid, make_grid


def many_images(labels: list[int], copies: int) -> tuple[Tensor, Grid]:
    """Labels of one image of 4 x 6 cells, many times over."""
    grid = make_grid([(4, 6)] * copies, (5, 7))
    return torch.tensor(labels * copies), grid


def test_masked_labels_are_uniform_over_the_labels_that_exist() -> None:
    copies = 6000
    indices, grid = many_images([7] + [3] * 4 + [20] * 19, copies)
    noise = torch.rand(grid.num_cells, generator=torch.Generator().manual_seed(0))
    masked = mask_random_label(indices, grid, noise, num_codes=24).view(copies, 24)
    per_label = torch.stack([masked[:, 0], masked[:, 1], masked[:, 5]], dim=1)
    assert (per_label.sum(dim=1) == 1).all(), "exactly one label per image"
    assert torch.equal(masked, per_label.repeat_interleave(torch.tensor([1, 4, 19]), dim=1))
    shares = per_label.float().mean(dim=0)
    # One standard deviation is 0.0061; choosing by cells would give 0.04, 0.17 and 0.79.
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), rtol=0, atol=0.025)


def test_masking_rate_is_independent_of_the_label() -> None:
    copies = 8000
    indices, grid = many_images([7] + [3] * 4 + [20] * 19, copies)
    noise = torch.rand(grid.num_cells, generator=torch.Generator().manual_seed(0))
    masked = mask_random_label(indices, grid, noise, num_codes=24, rate=0.25).view(copies, 24)
    shares = torch.stack([masked[:, 0], masked[:, 1], masked[:, 5]]).float().mean(dim=1)
    torch.testing.assert_close(shares, torch.full((3,), 0.25 / 3), rtol=0, atol=0.012)


@pytest.mark.parametrize("value", [0.0, 1 - 2**-24])
def test_extreme_noise_masks_one_label(value: float) -> None:
    indices, grid = many_images([7] + [3] * 4 + [20] * 19, 2)
    masked = mask_random_label(indices, grid, torch.full((48,), value), num_codes=24)
    assert indices[masked].view(2, -1).unique().numel() == 1


def test_official_masks_the_label_at_one_shared_position() -> None:
    grid = make_grid([(2, 2), (3, 4)], (3, 4))
    indices = torch.tensor([5, 6, 6, 5, 1, 1, 2, 3, 1, 6, 2, 3, 4, 4, 2, 3])
    for row in range(3):
        for column in range(4):
            noise = torch.full((16,), (row * 4 + column + 0.5) / 12)
            masked = mask_shared_position(indices, grid, noise, rate=1.0)
            label = indices[4:].view(3, 4)[row, column]
            assert torch.equal(masked[4:], indices[4:] == label)
            in_first = row < 2 and column < 2
            first = indices[:4].view(2, 2)[row, column] if in_first else -1
            assert torch.equal(masked[:4], indices[:4] == first)


def test_official_masks_a_small_share_of_the_images() -> None:
    copies = 20000
    indices, grid = many_images([1] * 24, copies)
    generator = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(4):
        noise = torch.rand(grid.num_cells, generator=generator)
        noise[0] *= 0.1  # The shared position is in the first row's valid part.
        masked = mask_shared_position(indices, grid, noise, rate=0.015).view(copies, 24)
        assert torch.equal(masked.all(dim=1), masked.any(dim=1))
        shares.append(masked[1:, 0].float().mean())
    assert float(torch.stack(shares).mean()) == pytest.approx(0.015, abs=0.0025)
