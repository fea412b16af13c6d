"""The visual dictionary's operators on the CPU, around the native code.

The search takes the matrix product of a chunk of rows, whose scores stay in the cache; the native
code rounds the rows before and decides after it. Beyond its inputs it holds the codes' operand and
two buffers of a chunk.

The product is PyTorch's, or, in float32 on AMD's CPUs, the native code's own: measured 2.2 times as
fast as MKL's on an EPYC of Zen 5 (`csrc/cpu/products.cpp`). Other CPUs' libraries may be faster.
"""

import torch
from torch import Tensor

from vlp_fast import native

# A chunk's scores, and its rows, for each thread: 1 MiB in bfloat16 on two. Beyond the most they
# would fall out of the cache; fewer rows are multiplied less fast.
NUMBERS_PER_THREAD = 2**18
MOST_NUMBERS = 2**22
FEWEST_ROWS = 128
# Of both factors together, where PyTorch may round them to bfloat16 for a float32 product.
_ROUNDED_FACTORS = 2.0**-6


def operand_dtype() -> torch.dtype:
    """Return the dtype that this CPU multiplies fastest."""
    module = native.extension()
    is_half = module is not None and module.multiplies_brain()
    return torch.bfloat16 if is_half else torch.float32


def nearest_code(x: Tensor, codes: Tensor, valid: Tensor | None, excluded: int) -> Tensor:
    """Index of the nearest code."""
    codes = codes.float().contiguous()
    centre = codes.mean(0)
    operand, terms = prepare_codes(codes, centre, operand_dtype())
    indices = x.new_empty(len(x), dtype=torch.int64)
    size = min(len(x), rows_per_chunk(codes.shape, _threads()))
    rows, products = operand.new_empty(size, x.shape[1]), operand.new_empty(size, len(codes))
    bounds = terms.new_empty(size, 2)
    module, threads, rounding = native.required(), _threads(), _rounding(operand)
    for start in range(0, len(x), max(size, 1)):
        end = min(start + size, len(x))
        some, here = x[start:end], slice(end - start)
        keep = None if valid is None else valid[start:end]
        module.centre_rows(some, centre, rows[here], bounds[here], threads)
        _multiply(rows[here], operand, products[here])
        module.decide_rows(
            products[here],
            bounds[here],
            some,
            codes,
            terms,
            keep,
            excluded,
            rounding,
            indices[start:end],
            threads,
        )
    return indices


def rows_per_chunk(codes: torch.Size, threads: int) -> int:
    """Return how many rows are multiplied by codes of a shape at once."""
    numbers = min(threads * NUMBERS_PER_THREAD, MOST_NUMBERS)
    return max(FEWEST_ROWS, numbers // max(codes))


def prepare_codes(codes: Tensor, centre: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Codes around a centre, rounded to a dtype, and norms that bound what is lost.

    Args:
        codes: (K, D).
        centre: (D,), c. The search is right for any; differences from the codes' mean are small,
            and so is their rounding.
        dtype: that products are taken in, bfloat16 or float32.

    Returns:
        operand: (K, D) of this dtype: the codes minus the centre, rounded.
        terms: (4, K) float32: |d - c|^2 / 2; (|d|^2 - |c|^2) / 2; a bound of |d - c - operand|; a
            bound of |d - c|. Rows that are centred take the first as their bias, others the second.
    """
    operand = torch.empty(codes.shape, dtype=dtype)
    terms = torch.empty(4, len(codes), dtype=torch.float32)
    codes, centre, threads = codes.float().contiguous(), centre.float().contiguous(), _threads()
    native.required().prepare_codes(codes, operand, terms, centre, threads)
    return operand, terms


def code_statistics(
    x: Tensor,
    indices: Tensor,
    num_codes: int,
    valid: Tensor | None,
    check_finite: bool,
    deterministic: bool,
) -> Tensor:
    """Sums, counts and rows that are not finite, in one buffer; deterministic in any case."""
    buffer = x.new_empty(num_codes * (x.shape[1] + 1) + 1, dtype=torch.float32)
    module = native.required()
    module.code_statistics(x, indices, num_codes, valid, check_finite, buffer, _threads())
    return buffer


def ema_update(codes: Tensor, sums: Tensor, counts: Tensor, momentum: float) -> None:
    """Eq. 4, in place."""
    statistics = sums.contiguous(), counts.contiguous()
    native.required().ema_update(codes, *statistics, momentum, _threads())


def laplace_ema_update(
    codes: Tensor,
    embed_avg: Tensor,
    cluster_size: Tensor,
    sums: Tensor,
    counts: Tensor,
    momentum: float,
    eps: float,
) -> None:
    """The public code's rule, in place."""
    native.required().laplace_ema_update(
        codes,
        embed_avg,
        cluster_size,
        sums.contiguous(),
        counts.contiguous(),
        momentum,
        eps,
        _threads(),
    )


def _multiply(rows: Tensor, operand: Tensor, products: Tensor) -> None:
    """Write `rows @ operand.T`."""
    if _multiplies_here(operand):
        native.required().multiply_rows(rows, operand, products, _threads())
    else:
        torch.mm(rows, operand.T, out=products)


def _multiplies_here(operand: Tensor) -> bool:
    """Whether the native code's product is likely faster than PyTorch's."""
    return operand.dtype == torch.float32 and native.required().multiplies_single()


def _rounding(operand: Tensor) -> float:
    """What `torch.set_float32_matmul_precision` may take from a product, in parts of |x| |d|."""
    if operand.dtype != torch.float32 or _multiplies_here(operand):
        return 0.0
    try:
        is_whole = torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # set backend by backend, which PyTorch does not sum up
        is_whole = False
    return 0.0 if is_whole else _ROUNDED_FACTORS


def _threads() -> int:
    return torch.get_num_threads()
