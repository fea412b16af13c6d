"""The part of report.png: pictures of one sample beside each other."""

import torch

from vlp_fast.tasks.downstream.picture import GAP, side_by_side


def plain(height: int, width: int, value: float) -> torch.Tensor:
    return torch.full((height, width, 3), value)


def test_pictures_stand_beside_each_other_on_white() -> None:
    found = side_by_side([plain(3, 5, 0.1), plain(6, 2, 0.2), plain(4, 1, 0.3)])
    expected = torch.ones(6, 5 + 2 + 1 + 2 * GAP, 3)
    expected[:3, :5] = 0.1
    expected[:6, 5 + GAP : 7 + GAP] = 0.2
    expected[:4, 7 + 2 * GAP :] = 0.3
    assert torch.equal(found, expected)


def test_one_picture_twice_is_two_pictures() -> None:
    """Left and right of a statement may be one file, and one tensor."""
    picture = plain(4, 3, 0.5)
    found = side_by_side([picture, picture])
    assert torch.equal(found, torch.cat([picture, torch.ones(4, GAP, 3), picture], dim=1))


def test_one_picture_stays_as_it_is() -> None:
    picture = torch.rand(4, 3, 3)
    assert torch.equal(side_by_side([picture]), picture)
