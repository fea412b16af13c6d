"""Box algebra against hand-computed cases, integer rasters and gradcheck."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp_fast.ops import boxes

HAND = [
    # a, b, iou, giou
    ((0, 0, 2, 2), (0, 0, 2, 2), 1.0, 1.0),
    ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7, 1 / 7 - 2 / 9),
    ((0, 0, 1, 1), (2, 0, 3, 1), 0.0, -1 / 3),
    ((0, 0, 4, 4), (1, 1, 2, 2), 1 / 16, 1 / 16),
    ((0, 0, 1, 1), (1, 0, 2, 1), 0.0, 0.0),
    ((1, 1, 1, 1), (1, 1, 1, 1), 0.0, 0.0),
    ((1, 1, 1, 1), (3, 1, 3, 1), 0.0, 0.0),
    ((0, 0, 0, 0), (1, 1, 2, 2), 0.0, -3 / 4),
    ((2, 2, 0, 0), (0, 0, 2, 2), 0.0, 0.0),
]


@pytest.mark.parametrize(("a", "b", "iou", "giou"), HAND)
def test_hand_computed(a, b, iou, giou) -> None:
    one, two = torch.tensor(a).float(), torch.tensor(b).float()
    for x, y in ((one, two), (two, one)):
        assert boxes.iou(x, y).item() == pytest.approx(iou, abs=1e-6)
        assert boxes.giou(x, y).item() == pytest.approx(giou, abs=1e-6)


corner = st.integers(0, 8)
box = st.tuples(corner, corner, st.integers(0, 5), st.integers(0, 5)).map(
    lambda t: (t[0], t[1], t[0] + t[2], t[1] + t[3])
)


@settings(max_examples=60, deadline=None)
@given(st.lists(box, min_size=1, max_size=4), st.lists(box, min_size=1, max_size=4))
def test_pairwise_equals_counting_pixels(first, second) -> None:
    def raster(b):
        canvas = torch.zeros(14, 14, dtype=torch.bool)
        canvas[b[1] : b[3], b[0] : b[2]] = True
        return canvas

    one, two = torch.tensor(first).double(), torch.tensor(second).double()
    iou, giou = boxes.pairwise_iou(one, two), boxes.pairwise_giou(one, two)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            x, y = raster(a), raster(b)
            inter, union = (x & y).sum().item(), (x | y).sum().item()
            hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
            expected = inter / union if union else 0.0
            assert iou[i, j].item() == pytest.approx(expected)
            assert giou[i, j].item() == pytest.approx(
                expected - ((hull - union) / hull if hull else 0.0)
            )


def test_forms_are_inverse_and_area() -> None:
    centre = torch.tensor([[0.5, 0.25, 0.5, 0.125]])
    corners = boxes.cxcywh_to_xyxy(centre)
    assert corners.tolist() == [[0.25, 0.1875, 0.75, 0.3125]]
    assert torch.equal(boxes.xyxy_to_cxcywh(corners), centre)
    assert boxes.box_area(corners).item() == 0.0625
    assert boxes.box_area(torch.tensor([3.0, 0.0, 1.0, 5.0])).item() == 0


def test_pairwise_broadcasts_over_leading_axes() -> None:
    one, two = torch.rand(2, 3, 4).cumsum(-1), torch.rand(2, 5, 4).cumsum(-1)
    both = boxes.pairwise_giou(one, two)
    assert both.shape == (2, 3, 5)
    torch.testing.assert_close(both[1], boxes.pairwise_giou(one[1], two[1]))
    assert boxes.pairwise_iou(one[:, :0], two).shape == (2, 0, 5)


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    make = lambda: boxes.cxcywh_to_xyxy(
        torch.rand(6, 4, dtype=torch.float64, generator=generator) * 0.5 + 0.2
    ).requires_grad_()
    assert torch.autograd.gradcheck(boxes.giou, (make(), make()))
    assert torch.autograd.gradcheck(boxes.pairwise_iou, (make(), make()))


@pytest.mark.parametrize("a", [(0.5, 0.5, 0, 0), (0.5, 0.5, 1e-8, 1e-8), (0.5, 0.5, 0, 0.3)])
@pytest.mark.parametrize("b", [(0.5, 0.5, 0, 0), (0.5, 0.5, 1e-20, 0.3), (0.1, 0.9, -0.2, 0.1)])
def test_degenerate_boxes_have_finite_values_and_gradients(a, b) -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        one, two = (torch.tensor(x, dtype=dtype).requires_grad_() for x in (a, b))
        value = boxes.giou(boxes.cxcywh_to_xyxy(one), boxes.cxcywh_to_xyxy(two))
        value.backward()
        assert value.isfinite()
        assert -1 <= value <= 1
        assert one.grad.isfinite().all()
        assert two.grad.isfinite().all()


def test_half_precision_is_computed_in_float32() -> None:
    a = torch.tensor([0.0, 0.0, 300.0, 300.0], dtype=torch.float16)
    assert boxes.iou(a, a).dtype == torch.float32
    assert boxes.iou(a, a).item() == 1


def test_the_area_of_a_line_has_the_gradient_of_its_product() -> None:
    """It may become a box, so its flat side has a gradient; a negative side has none."""
    corners = torch.tensor([[0.1, 0.3, 0.5, 0.3], [0.2, 0.1, 0.2, 0.6], [0.5, 0.1, 0.2, 0.6]])
    corners.requires_grad_()
    boxes.box_area(corners).sum().backward()
    expected = [[0, -0.4, 0, 0.4], [-0.5, 0, 0.5, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(corners.grad, torch.tensor(expected))
