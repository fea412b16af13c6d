"""K-means: where a visual dictionary starts when it starts from data.

SOHO draws its dictionary at random, and a random dictionary collapses to a handful of codes unless
the features happen to lie around it (`docs/paper_gaps.md`). This starts the codes where the
features are: at random rows, then Lloyd's iterations. It runs once, before training.

Random rows follow the density of the features, so that all codes are used alike. The seeds of
k-means++ lie far apart and favour what is rare: on features of the drawn world they left seven
tenths of the perplexity, at nearly the same mean squared distance (`docs/measurements.md`).

Shape suffixes: N rows, D width, K codes.
"""

import warnings

import torch
from torch import Tensor

from vlp_fast.ops import code_statistics, nearest_code


def kmeans(
    x: Tensor, num_codes: int, *, seed: int = 0, iterations: int = 10, function: str = "kmeans"
) -> tuple[Tensor, Tensor]:
    """Computes centres of the rows of x that are finite.

    Seeds are drawn evenly among the distinct rows, without repetition as long as there are enough
    of them. A centre that loses all of its rows stays where it is.

    Args:
        x: (N, D) float. Rows with a NaN or an infinity, or too large to be added up, are left out,
            with a warning.
        num_codes: K.
        seed: of the draws; the same seed and rows give the same centres on one kind of device.
        iterations: of Lloyd's algorithm.
        function: of the user, for the error and the warning.

    Returns:
        centres: (K, D) float32.
        counts: (K,) float32, rows for which each centre is the nearest.

    Raises:
        ValueError: for fewer finite rows than codes.

    Source: Forgy 1965 (the seeds); Lloyd 1982.
    """
    x = _finite(x.detach().float(), num_codes, function)
    centres = _seed(x, num_codes, seed)
    for _ in range(iterations):
        found = code_statistics(x, nearest_code(x, centres), num_codes)
        means = found.sums / found.counts.clamp(min=1)[:, None]
        centres = torch.where(found.counts[:, None] > 0, means, centres)
    return centres, code_statistics(x, nearest_code(x, centres), num_codes).counts


def _finite(x: Tensor, num_codes: int, function: str) -> Tensor:
    # The sum of all rows must be finite too.
    limit = torch.finfo(torch.float32).max / max(len(x), 1)
    rows = x[(x.abs() < limit).all(dim=1)]
    broken = f", {len(x) - len(rows)} of them with NaN or infinity," if len(rows) < len(x) else ""
    if len(rows) < num_codes:
        raise ValueError(
            f"{function}: received {len(x)} rows for {num_codes} codes{broken or ','} expected at "
            "least one finite row per code; pass the features of more batches"
        )
    if broken:
        warnings.warn(
            f"{function}: received {len(x)} rows{broken} expected finite features; the others "
            "start the codes. Look for what overflows in front of the dictionary.",
            RuntimeWarning,
            stacklevel=4,
        )
    return rows


def _seed(x: Tensor, num_codes: int, seed: int) -> Tensor:
    rows: Tensor = x.unique(dim=0)
    # Drawn on the CPU, so that the draws do not depend on the device.
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(rows), generator=generator)
    return rows[order.repeat(-(-num_codes // len(rows)))[:num_codes].to(rows.device)]
