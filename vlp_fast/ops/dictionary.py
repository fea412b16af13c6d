"""Operators of the visual dictionary: nearest code, statistics, moving averages.

SOHO (CVPR 2021), section 3.2, eq. 2 to 4. Not differentiable; the straight-through gradient is the
layer's. Padded rows and rows with NaN or infinity never reach a code, unlike in the public code.
"""

import torch
from torch import Tensor

from vlp_fast.ops.registry import Op
from vlp_fast.reference import dictionary as reference

_nearest_code = Op(
    "nearest_code(Tensor x, Tensor codes, Tensor? valid) -> Tensor",
    fake=lambda x, codes, valid: x.new_empty(x.shape[0], dtype=torch.int64),
)
_code_statistics = Op(
    "code_statistics(Tensor x, Tensor indices, SymInt num_codes, Tensor? valid)"
    " -> (Tensor, Tensor)",
    fake=lambda x, indices, num_codes, valid: (
        x.new_empty((num_codes, x.shape[1]), dtype=torch.float32),
        x.new_empty(num_codes, dtype=torch.float32),
    ),
)
_ema_update = Op(
    "ema_update(Tensor(a!) codes, Tensor sums, Tensor counts, float momentum) -> ()",
    fake=lambda codes, sums, counts, momentum: None,
)
_laplace_ema_update = Op(
    "laplace_ema_update(Tensor(a!) codes, Tensor(b!) embed_avg, Tensor(c!) cluster_size,"
    " Tensor sums, Tensor counts, float momentum, float eps) -> ()",
    fake=lambda codes, embed_avg, cluster_size, sums, counts, momentum, eps: None,
)

_nearest_code.impl("reference")(reference.nearest_code)
_code_statistics.impl("reference")(reference.code_statistics)
_ema_update.impl("reference")(reference.ema_update)
_laplace_ema_update.impl("reference")(reference.laplace_ema_update)


def nearest_code(x: Tensor, codes: Tensor, valid: Tensor | None = None) -> Tensor:
    """Find the code nearest to each row: `argmin_j |x - d_j|`, the lowest index of equal ones.

    The result is that of float64 arithmetic, whatever the dtype and whatever autocast says.

    Args:
        x: (N, D) floating point, any strides; N may be 0.
        codes: (K, D) floating point, finite, K at least 1.
        valid: (N,) bool, True for rows that count; `None` means all.

    Returns:
        (N,) int64 in `[0, K)`; 0 for rows that are not valid or not finite.

    Raises:
        ValueError: the widths differ, there is no code, or `valid` is not one bool for a row.

    Source: SOHO, eq. 2.
    """
    if x.ndim != 2 or codes.ndim != 2 or x.shape[1] != codes.shape[1] or codes.shape[0] == 0:
        raise ValueError(
            f"nearest_code: received x {tuple(x.shape)} and codes {tuple(codes.shape)}, expected "
            "(N, D) and (K, D) of one width with K at least 1"
        )
    _check_valid("nearest_code", x, valid)
    result: Tensor = _nearest_code(x.detach(), codes.detach(), valid)
    return result


def code_statistics(
    x: Tensor, indices: Tensor, num_codes: int, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Sum and count the rows of each code.

    Args:
        x: (N, D) floating point.
        indices: (N,) int64 in `[0, num_codes)`.
        num_codes: K.
        valid: (N,) bool, True for rows that count; `None` means all. Rows with a NaN or an
            infinity never count.

    Returns:
        `(sums, counts)`: (K, D) and (K,) float32. Over several processes, add both up.

    Raises:
        ValueError: there is not one index, or not one bool of `valid`, for each row.

    Source: SOHO, eq. 4.
    """
    if x.ndim != 2 or indices.shape != x.shape[:1]:
        raise ValueError(
            f"code_statistics: received x {tuple(x.shape)} and indices {tuple(indices.shape)}, "
            "expected (N, D) and (N,)"
        )
    _check_valid("code_statistics", x, valid)
    result: tuple[Tensor, Tensor] = _code_statistics(x.detach(), indices, num_codes, valid)
    return result


@torch.no_grad()
def ema_update(codes: Tensor, sums: Tensor, counts: Tensor, *, momentum: float) -> None:
    """Move each code towards the mean of its rows, in place.

    `d_j <- momentum * d_j + (1 - momentum) * sums_j / counts_j` where `counts_j > 0`; the other
    codes keep their vector.

    Args:
        codes: (K, D) float32, written to.
        sums: (K, D) float32, of `code_statistics`.
        counts: (K,) float32.
        momentum: weight of the old vector, in [0, 1].

    Raises:
        ValueError: the shapes disagree.

    Source: SOHO, eq. 4.
    """
    _check_statistics("ema_update", codes, sums, counts)
    _ema_update(codes, sums, counts, float(momentum))


@torch.no_grad()
def laplace_ema_update(
    codes: Tensor,
    embed_avg: Tensor,
    cluster_size: Tensor,
    sums: Tensor,
    counts: Tensor,
    *,
    momentum: float,
    eps: float = 1e-5,
) -> None:
    """Move averages of sums and counts and divide them, in place, as the public SOHO code does.

    `n <- momentum n + (1 - momentum) counts`, `e <- momentum e + (1 - momentum) sums`,
    `d_j <- e_j / ((n_j + eps) / (N + K eps) N)` with `N = sum n`. It is not eq. 4: averages that
    start at 0 turn every code without rows into the zero vector.

    Args:
        codes: (K, D) float32, written to.
        embed_avg: (K, D) float32, e, written to.
        cluster_size: (K,) float32, n, written to.
        sums: (K, D) float32, of `code_statistics`.
        counts: (K,) float32.
        momentum: weight of the old averages, in [0, 1].
        eps: Laplace smoothing, in rows.

    Raises:
        ValueError: the shapes disagree.

    Source: the dictionary of the public SOHO code.
    """
    _check_statistics("laplace_ema_update", codes, sums, counts)
    _check_statistics("laplace_ema_update", codes, embed_avg, cluster_size)
    _laplace_ema_update(codes, embed_avg, cluster_size, sums, counts, float(momentum), float(eps))


def _check_valid(function: str, x: Tensor, valid: Tensor | None) -> None:
    if valid is not None and (valid.shape != x.shape[:1] or valid.dtype != torch.bool):
        raise ValueError(
            f"{function}: received valid {tuple(valid.shape)} of {valid.dtype}, expected "
            f"({x.shape[0]},) of torch.bool"
        )


def _check_statistics(function: str, codes: Tensor, sums: Tensor, counts: Tensor) -> None:
    if sums.shape != codes.shape or counts.shape != codes.shape[:1]:
        raise ValueError(
            f"{function}: received codes {tuple(codes.shape)}, sums {tuple(sums.shape)} and counts "
            f"{tuple(counts.shape)}, expected (K, D), (K, D) and (K,)"
        )
