"""The visual dictionary's search: the nearest of K codes to each of N rows, exactly.

SOHO (CVPR 2021), section 3.2, eq. 2. Not differentiable; the straight-through gradient is the
layer's. Padded rows and rows with NaN or infinity never reach a code, unlike in the public code.

The fast backends take products in half precision, and prove the answer: a code whose product leads
by more than the rounding could have moved both is the nearest. `PreparedCodes` is what they need of
the codes. Rows whose leader is not proved are compared again in float64, among the codes in doubt.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vlp_fast.ops import dictionary_device as on_device
from vlp_fast.ops import dictionary_host as host
from vlp_fast.ops.backends import register
from vlp_fast.ops.operands import check_devices
from vlp_fast.ops.registry import Op
from vlp_fast.reference import dictionary as reference


class PreparedCodes(NamedTuple):
    """Codes as a search takes products with them, and how far these are from the codes.

    A search with codes that have changed since is wrong: prepare them again, or let `ema_update`
    and `laplace_ema_update` do so in the pass that moves them.

    Attributes:
        operand: (K, D) of the products' dtype: the codes minus `centre`, rounded.
        terms: (4, K) float32: |d - c|^2 / 2; (|d|^2 - |c|^2) / 2; a bound of |d - c - operand|;
            a bound of |d - c|. Rows that are centred take the first as their bias, others the
            second.
        centre: (D,) float32, c: near the codes' mean when they were prepared in full. The search
            is right for any; differences from a near one are small, and so is their rounding.
    """

    operand: Tensor
    terms: Tensor
    centre: Tensor


_prepare_codes = Op(
    "prepare_codes(Tensor codes, Tensor centre, ScalarType dtype) -> (Tensor, Tensor)",
    fake=lambda codes, centre, dtype: (
        codes.new_empty(codes.shape, dtype=dtype),
        codes.new_empty((4, codes.shape[0]), dtype=torch.float32),
    ),
)
_nearest_code = Op(
    "nearest_code(Tensor x, Tensor codes, Tensor? valid, int excluded, Tensor[] prepared)"
    " -> Tensor",
    fake=lambda x, codes, valid, excluded, prepared: x.new_empty(x.shape[0], dtype=torch.int64),
)

_gather_codes = Op(
    "gather_codes(Tensor codes, Tensor indices, ScalarType dtype, Tensor? valid) -> Tensor",
    fake=lambda codes, indices, dtype, valid: codes.new_empty(
        (indices.shape[0], codes.shape[1]), dtype=dtype
    ),
)

_modules = {"reference": reference, "cpp": host, "cuda": on_device}
register(_prepare_codes, **_modules, triton="dictionary_update")
register(_nearest_code, **_modules, triton="dictionary")
register(_gather_codes, **_modules, triton="dictionary_gather")


@torch.no_grad()
def nearest_code(
    x: Tensor,
    codes: Tensor,
    valid: Tensor | None = None,
    *,
    excluded: int = 0,
    prepared: PreparedCodes | None = None,
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
        prepared: of these very codes, if they are at hand; made anew if `None`.

    Returns:
        (N,) int64 in `[0, K)`, or `excluded`.

    Raises:
        ValueError: the widths differ, there is no code, `valid` is not one bool for a row,
            `prepared` is of other codes' shape, or tensors are on different devices.

    Source: SOHO, eq. 2.
    """
    if x.ndim != 2 or codes.ndim != 2 or x.shape[1] != codes.shape[1] or codes.shape[0] == 0:
        raise ValueError(
            f"nearest_code: received x {tuple(x.shape)} and codes {tuple(codes.shape)}, expected "
            "(N, D) and (K, D) of one width with K at least 1"
        )
    check_valid("nearest_code", x, valid)
    shapes = (codes.shape, (4, codes.shape[0]), codes.shape[1:])
    if prepared is not None and tuple(part.shape for part in prepared) != shapes:
        raise ValueError(
            f"nearest_code: received codes prepared of shape {tuple(prepared.operand.shape)}, "
            f"expected {tuple(codes.shape)}; call prepare_codes"
        )
    check_devices("nearest_code", x, codes, valid, *(prepared or ()))
    result: Tensor = _nearest_code(x, codes, valid, excluded, list(prepared or ()))
    return result


@torch.no_grad()
def prepare_codes(codes: Tensor, rows_dtype: torch.dtype) -> PreparedCodes:
    """Prepare codes for searches: centred, in the dtype that products with such rows take.

    Args:
        codes: (K, D) floating point, finite.
        rows_dtype: of the rows that will be searched for; others are found too, if slower.
    """
    centre = codes.mean(0, dtype=torch.float32)
    operand, terms = _prepare_codes(codes, centre, operand_dtype(rows_dtype, codes.device))
    return PreparedCodes(operand, terms, centre)


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


def operand_dtype(rows_dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Return the dtype of products with rows of a dtype on a device.

    Half precision where a device multiplies it faster: Volta and Turing only float16; float16 has
    three more bits than bfloat16, so that fewer rows stay in doubt. CPUs may have instructions for
    bfloat16.
    """
    if device.type == "cuda":
        is_brain = rows_dtype == torch.bfloat16 and torch.cuda.get_device_capability(device) >= (
            8,
            0,
        )
        return torch.bfloat16 if is_brain else torch.float16
    return host.operand_dtype() if device.type == "cpu" else torch.float32


def check_valid(function: str, x: Tensor, valid: Tensor | None) -> None:
    """Refuse anything but one bool for a row."""
    if valid is not None and (valid.shape != x.shape[:1] or valid.dtype != torch.bool):
        raise ValueError(
            f"{function}: received valid {tuple(valid.shape)} of {valid.dtype}, expected "
            f"({x.shape[0]},) of torch.bool"
        )
