"""The visual dictionary's update: statistics of the rows of each code, and two moving averages.

SOHO (CVPR 2021), section 3.2, eq. 4, and the rule of its public code. Everything is float32.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vlp_fast.ops import dictionary_device as on_device
from vlp_fast.ops import dictionary_host as host
from vlp_fast.ops.backends import register
from vlp_fast.ops.dictionary import check_valid
from vlp_fast.ops.operands import check_devices
from vlp_fast.ops.registry import Op
from vlp_fast.reference import dictionary as reference


class CodeStatistics(NamedTuple):
    """What the rows of a batch say about the codes: views of one buffer, for one all-reduce.

    Attributes:
        sums: (K, D) float32, sum of the rows of each code.
        counts: (K,) float32, their number.
        non_finite: () float32, number of rows that were valid, but not finite; without
            `check_finite`, that were valid and have a negative index.
        buffer: (K * D + K + 1,) float32, the three of them.
    """

    sums: Tensor
    counts: Tensor
    non_finite: Tensor
    buffer: Tensor

    @classmethod
    def of(cls, buffer: Tensor, num_codes: int, width: int) -> "CodeStatistics":
        """Views of a buffer of K codes of width D."""
        sums, counts, non_finite = buffer.split((num_codes * width, num_codes, 1))
        return cls(sums.view(num_codes, width), counts, non_finite[0], buffer)


_code_statistics = Op(
    "code_statistics(Tensor x, Tensor indices, SymInt num_codes, Tensor? valid,"
    " bool check_finite, bool deterministic) -> Tensor",
    fake=lambda x, indices, num_codes, *_: x.new_empty(
        num_codes * (x.shape[1] + 1) + 1, dtype=torch.float32
    ),
)
_ema_update = Op(
    "ema_update(Tensor(a!) codes, Tensor sums, Tensor counts, float momentum) -> ()",
    fake=lambda *_: None,
)
_laplace_ema_update = Op(
    "laplace_ema_update(Tensor(a!) codes, Tensor(b!) embed_avg, Tensor(c!) cluster_size,"
    " Tensor sums, Tensor counts, float momentum, float eps) -> ()",
    fake=lambda *_: None,
)

_modules = {"reference": reference, "cpp": host, "cuda": on_device}
register(_code_statistics, **_modules, triton="dictionary_statistics")
register(_ema_update, _laplace_ema_update, **_modules, triton="dictionary_update")


@torch.no_grad()
def code_statistics(
    x: Tensor,
    indices: Tensor,
    num_codes: int,
    valid: Tensor | None = None,
    *,
    check_finite: bool = True,
    deterministic: bool = True,
) -> CodeStatistics:
    """Sum and count the rows of each code.

    Args:
        x: (N, D) floating point.
        indices: (N,) int64 below `num_codes`; rows with a negative one do not count.
        num_codes: K.
        valid: (N,) bool, True for rows that count; `None` means all. Rows with a NaN or an
            infinity never count.
        check_finite: False saves a pass over x where rows that are not finite have a negative
            index already, as `nearest_code(..., excluded=-1)` gives them.
        deterministic: sums in an order that the indices alone decide: the same bits in every run.
            False allows a GPU to add in the order in which its threads come.

    Returns:
        The statistics. Over several processes, add up their `buffer`.

    Raises:
        ValueError: there is not one index, or not one bool of `valid`, for each row.

    Source: SOHO, eq. 4.
    """
    if x.ndim != 2 or indices.shape != x.shape[:1]:
        raise ValueError(
            f"code_statistics: received x {tuple(x.shape)} and indices {tuple(indices.shape)}, "
            "expected (N, D) and (N,)"
        )
    check_valid("code_statistics", x, valid)
    check_devices("code_statistics", x, indices, valid)
    buffer: Tensor = _code_statistics(x, indices, num_codes, valid, check_finite, deterministic)
    return CodeStatistics.of(buffer, num_codes, x.shape[1])


@torch.no_grad()
def ema_update(
    codes: Tensor,
    sums: Tensor,
    counts: Tensor,
    *,
    momentum: float,
) -> None:
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
    _has_changed(codes)


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
        eps: Laplace smoothing, in rows, above 0.

    Raises:
        ValueError: the shapes disagree.

    Source: the dictionary of the public SOHO code.
    """
    if not eps > 0:
        raise ValueError(f"laplace_ema_update: received eps {eps}, expected a number above 0")
    _check_statistics("laplace_ema_update", codes, sums, counts)
    _check_statistics("laplace_ema_update", codes, embed_avg, cluster_size)
    _laplace_ema_update(
        codes,
        embed_avg,
        cluster_size,
        sums,
        counts,
        float(momentum),
        float(eps),
    )
    _has_changed(codes, embed_avg, cluster_size)


def _has_changed(*tensors: Tensor) -> None:
    """Tell autograd, and whoever keeps what was computed of them, that kernels wrote to tensors."""
    if not torch.compiler.is_compiling():
        torch.autograd.graph.increment_version(tensors)


def _check_statistics(function: str, codes: Tensor, sums: Tensor, counts: Tensor) -> None:
    if sums.shape != codes.shape or counts.shape != codes.shape[:1]:
        raise ValueError(
            f"{function}: received codes {tuple(codes.shape)}, sums {tuple(sums.shape)} and counts "
            f"{tuple(counts.shape)}, expected (K, D), (K, D) and (K,)"
        )
    check_devices(function, codes, sums, counts)
