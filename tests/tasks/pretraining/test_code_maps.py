"""Maps of codes and their legend: the right cells of the right pictures."""

import torch

from vlp_fast.tasks.pretraining.code_maps import (
    CODES,
    SIDE,
    CodedPicture,
    frequent_codes,
    patches_of,
)


def picture(codes: list[list[int]], shade: float) -> CodedPicture:
    """A picture of 8 x 8 pixels a cell whose blue is the cell's number, and red the shade."""
    cells = torch.tensor(codes)
    number = torch.arange(cells.numel()).view(cells.shape) / 100
    blue = number.repeat_interleave(8, 0).repeat_interleave(8, 1)
    return CodedPicture(torch.stack([torch.full_like(blue, shade), 0 * blue, blue]), cells)


def test_patches_are_cells_of_the_code_one_of_each_picture_first() -> None:
    pictures = [picture([[5, 5, 2], [1, 2, 5]], 0.1), picture([[2, 5], [7, 7], [7, 7]], 0.2)]
    found = [
        (float(p[0, 0, 0]), round(100 * float(p[2, 0, 0]))) for p in patches_of(5, pictures, 99)
    ]
    assert [(round(shade, 1), cell) for shade, cell in found] == [
        (0.1, 0),
        (0.2, 1),
        (0.1, 1),
        (0.1, 5),
    ]
    for patch in patches_of(5, pictures, 99):
        assert patch.shape == (3, SIDE, SIDE)
        assert len(patch[2].unique()) == 1  # one cell and nothing of its neighbours
    assert patches_of(9, pictures, 99) == []


def test_a_cell_of_less_than_a_pixel_has_a_patch() -> None:
    small = CodedPicture(torch.rand(3, 2, 2), torch.arange(16).view(4, 4))
    assert patches_of(15, [small], 99)[0].shape == (3, SIDE, SIDE)


def test_the_most_frequent_codes_come_first_and_are_few() -> None:
    assert frequent_codes([picture([[3, 3, 8], [8, 8, 1]], 0.0)]) == [8, 3, 1]
    many = CodedPicture(torch.rand(3, 8, 8), torch.arange(64).view(8, 8))
    assert len(frequent_codes([many])) == CODES
