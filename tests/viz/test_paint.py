"""Pictures that are drawn on, pixel by pixel."""

import numpy as np
import torch

from vlp_fast.viz.colours import COLOURS
from vlp_fast.viz.paint import GAP, HEAT, below, beside, boxed, heated, sized


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def test_weights_colour_the_cells_that_have_them() -> None:
    pixels = np.full((40, 60, 3), 200, np.uint8)
    weights = np.zeros((2, 3))
    weights[1, 2], weights[0, 0] = 0.8, 0.4
    drawn = heated(pixels, weights).astype(int)
    most, half, none = drawn[30, 50], drawn[10, 10], drawn[30, 10]
    assert abs(most - HEAT).max() < 45
    assert np.ptp(none) == 0, "grey"
    between = none + (most - none) / 2
    np.testing.assert_allclose(half, between, atol=2)
    assert (drawn[20:, 40:] == most).all()
    assert (drawn[:20, 20:] == none).all()
    assert (heated(pixels, np.zeros((2, 3))) == none).all(), "no weight, no colour"
    faint = heated(pixels, weights, largest=8.0).astype(int)
    assert abs(faint[30, 50] - none).max() < abs(most - none).max() / 5


def test_boxes_are_where_they_are_and_the_first_on_top() -> None:
    pixels = np.zeros((101, 201, 3), np.uint8)
    corners = np.array([[0.25, 0.5, 0.75, 1.0], [0.25, 0.2, 0.75, 0.9]])
    drawn = boxed(pixels, corners)
    assert tuple(drawn[75, 150]) == rgb(COLOURS[0])
    assert tuple(drawn[35, 150]) == rgb(COLOURS[1])
    assert tuple(drawn[75, 50]) == rgb(COLOURS[0]), "both have this edge"
    assert not drawn[75, 100].any()
    assert (pixels == 0).all(), "what was given stays"
    plain = boxed(pixels, corners, tags=False)
    assert tuple(plain[35, 150]) == rgb(COLOURS[0])
    assert boxed(pixels, np.zeros((0, 4))).shape == pixels.shape


def test_pictures_are_sized_and_laid_out() -> None:
    picture = torch.zeros(3, 10, 20, dtype=torch.uint8)
    picture[0, :, 10:] = 255
    shown = sized(picture, 100)
    assert shown.shape == (50, 100, 3)
    assert shown[25, 90].tolist() == [255, 0, 0]
    assert shown[25, 10].tolist() == [0, 0, 0]
    tall = np.zeros((80, 30, 3), np.uint8)
    row = beside([shown, tall])
    assert row.shape == (80, 100 + GAP + 30, 3)
    assert (row[50:, :100] == 255).all()
    column = below([shown, tall])
    assert column.shape == (50 + GAP + 80, 100, 3)
    assert (column[:50] == shown).all()
    assert (column[50 + GAP :, :30] == 0).all()
