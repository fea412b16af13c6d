"""Which visual tokens masked visual modelling hides (SOHO section 3.3).

Neighbouring cells share a label, so hiding one cell would leave the answer beside it: all cells of
one label are hidden together. Two rules choose the label, and both use uniform noise that the
loader drew, one number per cell, so that a step is a function of its batch:

- `mask_random_label`, the paper: "randomly select an existing label index", that is, uniformly
  among the labels that the image has, however many cells each covers;
- `mask_shared_position`, the published code: the label at one grid position, drawn once for the
  whole batch (so labels of many cells come up more often), in a small share of the images.

Nothing waits for the device. Shape suffixes: P cells of all images, B images, K codes.
"""

import math

import torch
from torch import Tensor

from vlp_fast.ops.grid import Grid


def mask_random_label(
    indices: Tensor, grid: Grid, noise: Tensor, *, num_codes: int, rate: float = 1.0
) -> Tensor:
    """Selects all cells of one label per image, each label of the image being as likely.

    Every cell gets an exponential clock whose rate is one over the cells of its label: the clocks
    of a label together tick at rate 1, so each label is equally likely to own the first tick. When
    that tick comes does not depend on whose it is, which decides by `rate` whether to mask at all.

    Args:
        indices: (P,) int64 labels in [0, num_codes).
        grid: the cells.
        noise: (P,) float, uniform in [0, 1).
        num_codes: K.
        rate: share of images with masked cells.

    Returns:
        (P,) bool, True on masked cells.
    """
    own_label_P = grid.image_of * num_codes + indices
    ones_P = torch.ones_like(indices, dtype=torch.float32)
    sizes = ones_P.new_zeros(grid.num_images * num_codes).index_add(0, own_label_P, ones_P)
    size_P = sizes[own_label_P]
    clock_P = -noise.float().log() * size_P
    first_B = clock_P.new_full((grid.num_images,), math.inf)
    first_B = first_B.scatter_reduce(0, grid.image_of, clock_P, "amin")
    is_masked_P = _same_label(indices, clock_P == first_B[grid.image_of], grid)
    if rate >= 1:
        return is_masked_P
    num_labels_B = torch.zeros_like(first_B).index_add(0, grid.image_of, 1 / size_P)
    uniform_B = (-first_B * num_labels_B).exp()
    return is_masked_P & (uniform_B < rate)[grid.image_of]


def mask_shared_position(indices: Tensor, grid: Grid, noise: Tensor, *, rate: float) -> Tensor:
    """Selects all cells with the label found at one position of the map, in a share of the images.

    Where the position is an image's padding, nothing of that image is masked. Different from the
    published code: the share is drawn per image instead of per text of the image.

    Args:
        indices: (P,) int64 labels.
        grid: the cells.
        noise: (P,) float, uniform in [0, 1); only those of the images' first cells are used.
        rate: share of images with masked cells; 0.015 in the published code.

    Returns:
        (P,) bool, True on masked cells.
    """
    height, width = grid.map_size
    is_first_P = (grid.rows == 0) & (grid.columns == 0)
    draws_P = torch.where(is_first_P, noise, 0).double() * (height * width)
    draws_B = draws_P.new_zeros(grid.num_images).index_add(0, grid.image_of, draws_P)
    # The first image's whole part is the position; all fractions are uniform and independent of it.
    position = draws_B[0].floor()
    is_there_P = grid.rows * width + grid.columns == position
    is_chosen_B = draws_B - draws_B.floor() < rate
    return _same_label(indices, is_there_P, grid) & is_chosen_B[grid.image_of]


def _same_label(indices: Tensor, is_chosen: Tensor, grid: Grid) -> Tensor:
    """Extends each image's chosen cell to all its cells of that label; (P,) bool both."""
    label_B = indices.new_full((grid.num_images,), -1)
    candidates_P = torch.where(is_chosen, indices, -1)
    label_B = label_B.scatter_reduce(0, grid.image_of, candidates_P, "amax")
    return indices == label_B[grid.image_of]
