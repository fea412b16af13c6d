"""The visual dictionary in plain torch: nearest code, statistics, and two moving averages.

SOHO (CVPR 2021), section 3.2: eq. 2 is the nearest code, eq. 4 the momentum update. The second
update is what the public SOHO code does instead of eq. 4.
"""

import torch
from torch import Tensor

DIFFERENCES = "donot_use_mm_for_euclid_dist"
# Distances of one chunk of rows to all codes: 16 MiB in float64.
_CHUNK_SCORES = 2**21


def nearest_code(x: Tensor, codes: Tensor, valid: Tensor | None, excluded: int) -> Tensor:
    """Index of the nearest code in Euclidean distance, the lowest one of equals.

    Distances are those of the differences in float64, not of products: these cancel far from the
    origin. Codes within their rounding of the nearest count as equal, and so do duplicates.
    """
    wide = codes.double()
    equal = 1 + torch.finfo(torch.float64).eps * max(wide.shape[1], 1) ** 0.5
    indices = x.new_empty(x.shape[0], dtype=torch.int64)
    for rows, out in zip(_chunks(x, len(codes)), _chunks(indices, len(codes)), strict=True):
        distances = torch.cdist(rows.double(), wide, compute_mode=DIFFERENCES)
        limit = distances.amin(1, keepdim=True) * equal
        out.copy_((distances <= limit).to(torch.uint8).argmax(1))
    keep = x.isfinite().all(1) if valid is None else x.isfinite().all(1) & valid
    return indices.masked_fill_(~keep, excluded)


def gather_codes(
    codes: Tensor, indices: Tensor, dtype: torch.dtype, valid: Tensor | None
) -> Tensor:
    """The code of each row; NaN for rows that are valid and were left out."""
    found = codes.to(dtype).index_select(0, indices.clamp(min=0))
    is_broken = indices < 0 if valid is None else (indices < 0) & valid
    return found.masked_fill_(is_broken[:, None], torch.nan)


def code_statistics(
    x: Tensor,
    indices: Tensor,
    num_codes: int,
    valid: Tensor | None,
    check_finite: bool,
    deterministic: bool,
) -> Tensor:
    """Sum and number of the rows of each code, and how many rows a NaN or infinity keeps out."""
    is_valid = torch.ones_like(indices, dtype=torch.bool) if valid is None else valid
    keep = is_valid & x.isfinite().all(1) & (indices >= 0)
    is_left_out = ~x.isfinite().all(1) if check_finite else indices < 0
    non_finite = (is_valid & is_left_out).sum()
    rows = x.double().masked_fill(~keep[:, None], 0)
    codes = indices.clamp(min=0)
    sums = rows.new_zeros(num_codes, x.shape[1]).index_add_(0, codes, rows)
    counts = rows.new_zeros(num_codes).index_add_(0, codes, keep.double())
    return torch.cat((sums.flatten(), counts, non_finite.double()[None])).float()


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
