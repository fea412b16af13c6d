"""What the definitions compute in: float32, or float64 where that is given."""

import torch
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """Widen half precision to float32; float64 stays as it is."""
    return x if x.dtype == torch.float64 else x.float()
