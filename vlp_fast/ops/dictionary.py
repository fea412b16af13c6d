"""The visual dictionary's search: the nearest of K codes to each of N rows, exactly.

SOHO (CVPR 2021), section 3.2, eq. 2. Not differentiable; the straight-through gradient is the
layer's. Padded rows and rows with NaN or infinity never reach a code, unlike in the public code.

The fast backends take products in half precision, and prove the answer: a code whose product leads
by more than the rounding could have moved both is the nearest. Rows whose leader is not proved are
compared again in float64, among the codes in doubt.
"""

import torch
from torch import Tensor

from vlp_fast.ops import dictionary_device as on_device
from vlp_fast.ops import dictionary_host as host
from vlp_fast.ops.backends import register
from vlp_fast.ops.operands import check_devices
from vlp_fast.ops.registry import Op
from vlp_fast.reference import dictionary as reference

_nearest_code = Op(
    "nearest_code(Tensor x, Tensor codes, Tensor? valid, int excluded) -> Tensor",
    fake=lambda x, codes, valid, excluded: x.new_empty(x.shape[0], dtype=torch.int64),
)

_gather_codes = Op(
    "gather_codes(Tensor codes, Tensor indices, ScalarType dtype, Tensor? valid) -> Tensor",
    fake=lambda codes, indices, dtype, valid: codes.new_empty(
        (indices.shape[0], codes.shape[1]), dtype=dtype
    ),
)

_modules = {"reference": reference, "cpp": host, "cuda": on_device}
register(_nearest_code, **_modules, triton="dictionary")
register(_gather_codes, **_modules, triton="dictionary_gather")


@torch.no_grad()
def nearest_code(
    x: Tensor,
    codes: Tensor,
    valid: Tensor | None = None,
    *,
    excluded: int = 0,
) -> Tensor:
    """Find the code nearest to each row: `argmin_j |x - d_j|`, the lowest index of equal ones.

    The result is that of float64 arithmetic, whatever the dtype and whatever autocast says. Of
    codes whose distances float64 does not tell apart any may be found; duplicates give the lowest
    index. No backend holds the distances of
    all rows at once, and none waits for the device.

    Args:
        x: (N, D) floating point, any strides; N may be 0.
        codes: (K, D) floating point, finite, K at least 1.
        valid: (N,) bool, True for rows that count; `None` means all.
        excluded: the index given to rows that are not valid or not finite.

    Returns:
        (N,) int64 in `[0, K)`, or `excluded`.

    Raises:
        ValueError: the widths differ, there is no code, `valid` is not one bool for a row, or
            tensors are on different devices.

    Source: SOHO, eq. 2.
    """
    if x.ndim != 2 or codes.ndim != 2 or x.shape[1] != codes.shape[1] or codes.shape[0] == 0:
        raise ValueError(
            f"nearest_code: received x {tuple(x.shape)} and codes {tuple(codes.shape)}, expected "
            "(N, D) and (K, D) of one width with K at least 1"
        )
    check_valid("nearest_code", x, valid)
    check_devices("nearest_code", x, codes, valid)
    result: Tensor = _nearest_code(x, codes, valid, excluded)
    return result


@torch.no_grad()
def gather_codes(
    codes: Tensor, indices: Tensor, dtype: torch.dtype, valid: Tensor | None = None
) -> Tensor:
    """Return the code of each row, `codes[indices]`, in another dtype in the same pass.

    Args:
        codes: (K, D) floating point.
        indices: (N,) int64 below K. Negative ones are of rows that were left out: NaN where the
            row is valid, which says that it was not finite; code 0 where it is not.
        dtype: of the result, floating point.
        valid: (N,) bool; `None` means all.

    Returns:
        (N, D).

    Raises:
        ValueError: `valid` is not one bool for a row.

    Source: SOHO, eq. 5.
    """
    check_valid("gather_codes", indices, valid)
    check_devices("gather_codes", codes, indices, valid)
    result: Tensor = _gather_codes(codes, indices, dtype, valid)
    return result


def check_valid(function: str, x: Tensor, valid: Tensor | None) -> None:
    """Refuse anything but one bool for a row."""
    if valid is not None and (valid.shape != x.shape[:1] or valid.dtype != torch.bool):
        raise ValueError(
            f"{function}: received valid {tuple(valid.shape)} of {valid.dtype}, expected "
            f"({x.shape[0]},) of torch.bool"
        )
