"""How evenly the codes of a dictionary are used."""

import torch
from torch import Tensor


def perplexity(counts: Tensor) -> Tensor:
    """Returns exp(entropy) of a (K,) histogram, a scalar float32 tensor; 1 if it is empty."""
    counts = counts.float()
    shares = counts / counts.sum().clamp(min=torch.finfo(torch.float32).tiny)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()
