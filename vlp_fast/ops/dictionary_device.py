"""The dictionary's operators on a GPU by the CUDA kernels of the extension.

They allocate results and scratch, and launch: nothing waits for the device, so that CUDA graphs
capture all of it. Products are of float16, which every tensor core multiplies.
"""

import torch
from torch import Tensor

from vlp_fast import native

# Rows of a block that counts and sorts them, and how many blocks there are at most: their number
# times K counters are added up.
_ROWS_PER_BLOCK = 512
_MOST_BLOCKS = 256

_PIECE = 128  # rows that are added up at a time, as in csrc/cuda/sum_rows.cuh
_FLOAT32_COUNTS = 2**24  # beyond, a float32 that counts one by one stands still


def nearest_code(x: Tensor, codes: Tensor, valid: Tensor | None, excluded: int) -> Tensor:
    """Index of the nearest code; rows in doubt are listed and looked at again on the device."""
    codes = codes.float().contiguous()
    centre = codes.mean(0)
    operand, terms = prepare_codes(codes, centre)
    indices = x.new_empty(x.shape[0], dtype=torch.int64)
    doubtful = x.new_empty(x.shape[0] + 1, dtype=torch.int64)
    doubtful[:1].zero_()
    native.required().nearest_code_cuda(
        x, codes, operand, terms, centre, valid, excluded, indices, doubtful
    )
    return indices


def prepare_codes(codes: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Codes around a centre in float16, and norms that bound what is lost, as on the host."""
    operand = codes.new_empty(codes.shape, dtype=torch.float16)
    terms = codes.new_empty((4, codes.shape[0]), dtype=torch.float32)
    native.required().prepare_codes_cuda(
        codes.float().contiguous(), operand, terms, centre.float().contiguous()
    )
    return operand, terms


def code_statistics(
    x: Tensor,
    indices: Tensor,
    num_codes: int,
    valid: Tensor | None,
    check_finite: bool,
    deterministic: bool,
) -> Tensor:
    """Sums, counts and the number of rows that are not finite, in one buffer."""
    indices = indices.contiguous()
    if not deterministic and x.shape[0] < _FLOAT32_COUNTS:
        return _add(x, indices, num_codes, valid, check_finite)
    return _sort_and_sum(x, indices, num_codes, valid, check_finite)


def _sort_and_sum(
    x: Tensor, indices: Tensor, num_codes: int, valid: Tensor | None, check_finite: bool
) -> Tensor:
    """The same bits in every run: rows sorted by code, then added up in their order."""
    rows, width = x.shape
    blocks = max(1, min(_MOST_BLOCKS, -(-rows // _ROWS_PER_BLOCK)))
    code_of = x.new_empty(rows, dtype=torch.int32)
    histogram = x.new_zeros(num_codes * blocks + 1, dtype=torch.int32)
    module = native.required()
    module.count_rows_cuda(x, indices, valid, check_finite, num_codes, blocks, code_of, histogram)
    ends = histogram[:-1].cumsum(0)
    order = torch.empty_like(indices)
    partial = x.new_empty((2 * -(-rows // _PIECE), width), dtype=torch.float32)
    buffer = x.new_empty(num_codes * (width + 1) + 1, dtype=torch.float32)
    module.sum_rows_cuda(x, num_codes, blocks, code_of, histogram, ends, order, partial, buffer)
    return buffer


def _add(
    x: Tensor, indices: Tensor, num_codes: int, valid: Tensor | None, check_finite: bool
) -> Tensor:
    """Atomic additions: one pass, in the order in which threads come."""
    buffer = x.new_zeros(num_codes * (x.shape[1] + 1) + 1, dtype=torch.float32)
    native.required().add_rows_cuda(x, valid, indices, num_codes, check_finite, buffer)
    return buffer


def ema_update(codes: Tensor, sums: Tensor, counts: Tensor, momentum: float) -> None:
    """Eq. 4, in place."""
    statistics = sums.contiguous(), counts.contiguous()
    native.required().ema_update_cuda(codes, *statistics, momentum)


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
    native.required().laplace_ema_update_cuda(
        codes,
        embed_avg,
        cluster_size,
        sums.contiguous(),
        counts.contiguous(),
        momentum,
        eps,
        codes.new_empty(1),
    )
