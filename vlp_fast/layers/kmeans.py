"""K-means: where a visual dictionary starts when it starts from data.

SOHO draws its dictionary at random, and a random dictionary collapses to a handful of codes unless
the features happen to lie around it (`docs/paper_gaps.md`). This starts the codes where the
features are: D^2 seeding (k-means++), then Lloyd's iterations. It runs once, before training.

Shape suffixes: N rows, D width, K codes.
"""

import torch
from torch import Tensor

from vlp_fast.ops import code_statistics, nearest_code


def kmeans(
    x: Tensor, num_codes: int, *, seed: int = 0, iterations: int = 10
) -> tuple[Tensor, Tensor]:
    """Computes centres of the rows of x.

    Seeds are distinct rows as long as there are enough of them: a row is drawn with a probability
    proportional to its squared distance from the seeds before it. A centre that loses all of its
    rows stays where it is.

    Args:
        x: (N, D) float, N >= num_codes, finite.
        num_codes: K.
        seed: of the draws; the same seed and rows give the same centres on one kind of device.
        iterations: of Lloyd's algorithm.

    Returns:
        centres: (K, D) float32.
        counts: (K,) float32, rows for which each centre is the nearest.

    Raises:
        ValueError: for fewer rows than codes.

    Source: Arthur and Vassilvitskii 2007; Lloyd 1982.
    """
    if x.shape[0] < num_codes:
        raise ValueError(
            f"kmeans: received {x.shape[0]} rows for {num_codes} codes, expected at least one row "
            "per code; pass the features of more batches"
        )
    x = x.detach().float()
    centres = _seed(x, num_codes, seed)
    for _ in range(iterations):
        sums, counts = code_statistics(x, nearest_code(x, centres), num_codes)
        means = sums / counts.clamp(min=1)[:, None]
        centres = torch.where(counts[:, None] > 0, means, centres)
    _, counts = code_statistics(x, nearest_code(x, centres), num_codes)
    return centres, counts


def _seed(x: Tensor, num_codes: int, seed: int) -> Tensor:
    # Drawn on the CPU, so that the draws do not depend on the device.
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(num_codes, generator=generator, dtype=torch.float64).to(x.device)
    norms = x.square().sum(dim=1)
    distances = torch.ones_like(norms)
    chosen = []
    for draw in draws:
        bounds = distances.double().cumsum(0)
        # right=True skips rows of distance 0; the clamp catches the case in which all are 0.
        row = torch.searchsorted(bounds, draw * bounds[-1], right=True).clamp(max=len(x) - 1)
        chosen.append(row)
        centre = x.index_select(0, row.reshape(1))[0]
        distance = (norms - 2 * (x @ centre) + centre.square().sum()).clamp(min=0)
        distance = distance.index_fill(0, row.reshape(1), 0.0)
        distances = distance if len(chosen) == 1 else torch.minimum(distances, distance)
    return x[torch.stack(chosen)]
