"""Boxes of pictures that EXIF turns, there and back."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vlp_fast.data.broken_image import BrokenImage
from vlp_fast.data.images import Picture
from vlp_fast.data.upright import annotated_boxes, turn_of, upright_boxes


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_go_back_to_where_they_are_annotated(orientation: int) -> None:
    """Upright, and back: in the frame of the file, whatever EXIF says."""
    stored = np.array([[20.0, 4.0, 28.0, 10.0], [0.0, 1.0, 32.0, 23.0]])
    raster = picture_of(24, 32, orientation)
    turn = turn_of((24, 32), raster)
    assert turn == orientation
    upright = upright_boxes(stored, (24, 32), raster, Path("x.jpg")).astype(np.float64)
    back = annotated_boxes(upright, turn) * [32, 24, 32, 24]
    np.testing.assert_allclose(back, stored, atol=1e-5)
    assert (orientation == 1) is np.allclose(upright * [32, 24, 32, 24], stored, atol=1e-5)


def test_a_frame_that_is_annotated_upright_is_not_turned() -> None:
    assert turn_of((32, 24), picture_of(24, 32, orientation=6)) == 1
    assert turn_of((99, 24), picture_of(24, 32, orientation=6)) is None


def picture_of(height: int, width: int, orientation: int = 1) -> Picture:
    turned = orientation >= 5
    shape = (3, width, height) if turned else (3, height, width)
    pixels = torch.zeros(shape, dtype=torch.uint8)
    return Picture(pixels=pixels, stored_size=(height, width), orientation=orientation)


def test_boxes_annotated_on_the_upright_picture_stay() -> None:
    box = np.array([[2.0, 3.0, 12.0, 30.0]])
    fractions = upright_boxes(box, (32, 24), picture_of(24, 32, orientation=6), Path("x.jpg"))
    np.testing.assert_allclose(fractions, [[2 / 24, 3 / 32, 12 / 24, 30 / 32]], atol=1e-6)


def test_boxes_follow_a_raster_that_was_resized_later() -> None:
    box = np.array([[64.0, 48.0, 320.0, 480.0]])
    for size in ((224, 299), (225, 299), (12, 16), (960, 1280)):
        fractions = upright_boxes(box, (480, 640), picture_of(*size), Path("x.jpg"))
        np.testing.assert_allclose(fractions, [[0.1, 0.1, 0.5, 1.0]], atol=1e-6)


def test_annotations_of_another_picture_are_told() -> None:
    with pytest.raises(BrokenImage, match=r"x\.jpg: is 300x300, but the annotations say 640x480"):
        upright_boxes(np.zeros((1, 4)), (480, 640), picture_of(300, 300), Path("x.jpg"))
