"""What the fast searches need of codes, by definition."""

import torch
from torch import Tensor


def prepare_codes(codes: Tensor, centre: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Codes around a centre in a dtype of less precision, and norms that bound what it loses."""
    wide, around = codes.double(), centre.double()
    shifted = wide - around
    largest = torch.finfo(dtype).max
    operand = shifted.clamp(-largest, largest).to(dtype)
    residual = (shifted - operand.double()).norm(dim=1)
    squares, bias = shifted.square().sum(1), wide.square().sum(1) - around.square().sum()
    up = 1 + 2 * torch.finfo(torch.float32).eps  # bounds stay bounds when they are rounded
    terms = torch.stack((squares / 2, bias / 2, residual * up, squares.sqrt() * up))
    return operand, terms.float()
