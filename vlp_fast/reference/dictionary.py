"""The visual dictionary in plain torch: nearest code, statistics, and two moving averages.

SOHO (CVPR 2021), section 3.2: eq. 2 is the nearest code, eq. 4 the momentum update. The second
update is what the public SOHO code does instead of eq. 4.
"""

import torch
from torch import Tensor

# Scores of one chunk of rows against all codes: 16 MiB in float64.
_CHUNK_SCORES = 2**21


def nearest_code(x: Tensor, codes: Tensor, valid: Tensor | None) -> Tensor:
    """Index of the nearest code in Euclidean distance, the lowest one of equals.

    `|x - d|^2` is ordered by `|d|^2 / 2 - x.d`, computed in float64 around the mean code: there
    float32 inputs are exact, and codes within its rounding of the minimum count as equal. A matrix
    product does not round equal columns alike, so a plain arg-min would not take the lowest.
    """
    wide = codes.double()
    centre = wide.mean(0)
    wide = wide - centre
    squares = wide.square().sum(1)
    largest = squares.amax().sqrt()
    rounding = 4 * torch.finfo(torch.float64).eps * wide.shape[1] ** 0.5
    indices = x.new_empty(x.shape[0], dtype=torch.int64)
    for rows, out in zip(_chunks(x, len(codes)), _chunks(indices, len(codes)), strict=True):
        centred = rows.double() - centre
        scores = torch.addmm(squares / 2, centred, wide.T, alpha=-1)
        tolerance = rounding * largest * (largest + centred.norm(dim=1, keepdim=True))
        best = scores.amin(1, keepdim=True) + tolerance
        out.copy_((scores <= best).to(torch.uint8).argmax(1))
    return indices if valid is None else indices.masked_fill_(~valid, 0)


def code_statistics(
    x: Tensor, indices: Tensor, num_codes: int, valid: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sum and number of the rows of each code; rows with a NaN or infinity do not count."""
    keep = x.isfinite().all(1)
    if valid is not None:
        keep = keep & valid
    rows = x.double().masked_fill(~keep[:, None], 0)
    sums = rows.new_zeros(num_codes, x.shape[1]).index_add_(0, indices, rows)
    counts = rows.new_zeros(num_codes).index_add_(0, indices, keep.double())
    return sums.float(), counts.float()


def ema_update(codes: Tensor, sums: Tensor, counts: Tensor, momentum: float) -> None:
    """Eq. 4, in place: `d_j <- momentum d_j + (1 - momentum) mean of its rows`, if it has any."""
    means = sums / counts.clamp(min=1)[:, None]
    moved = torch.lerp(means, codes.float(), momentum)
    codes.copy_(torch.where(counts[:, None] > 0, moved, codes.float()))


def laplace_ema_update(
    codes: Tensor,
    embed_avg: Tensor,
    cluster_size: Tensor,
    sums: Tensor,
    counts: Tensor,
    momentum: float,
    eps: float,
) -> None:
    """The public code's rule, in place: both averages decay, sizes are Laplace-smoothed."""
    cluster_size.mul_(momentum).add_(counts, alpha=1 - momentum)
    embed_avg.mul_(momentum).add_(sums, alpha=1 - momentum)
    total = cluster_size.sum()
    smoothed = (cluster_size + eps) / (total + len(codes) * eps) * total
    # Before the first finite row there is nothing to divide by: the codes stay.
    codes.copy_(torch.where(total > 0, embed_avg / smoothed[:, None], codes))


def _chunks(rows: Tensor, num_codes: int) -> tuple[Tensor, ...]:
    return torch.split(rows, max(1, _CHUNK_SCORES // num_codes))
