"""How evenly the codes of a dictionary are used."""

import torch
from torch import Tensor


def perplexity(counts: Tensor) -> Tensor:
    """Returns exp(entropy) of a (K,) histogram, a scalar float32 tensor; 1 if it is empty."""
    counts = counts.float()
    shares = counts / counts.sum().clamp(min=torch.finfo(torch.float32).tiny)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()


def used_codes(cluster_size: Tensor, momentum: float) -> Tensor:
    """Counts the (K,) moving counts above that of one hit 1 / (1 - momentum) steps ago."""
    rest = 1 - momentum
    threshold = rest * momentum ** (1 / rest) if rest > 0 else 0.0
    return (cluster_size > threshold).sum()
