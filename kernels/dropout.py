"""Dropout as a function of where a value stands; the definition is `vlp_fast.reference.dropout`."""

import triton
import triton.language as tl

GOLDEN = tl.constexpr(0x9E3779B9)


@triton.jit
def mixed(state, counter):
    """Murmur3's finaliser of a uint32 state and the next counter of the place."""
    x = state + counter.to(tl.uint32) * GOLDEN
    x = (x ^ (x >> 16)) * 0x85EBCA6B
    x = (x ^ (x >> 13)) * 0xC2B2AE35
    return x ^ (x >> 16)


@triton.jit
def is_kept(state, column, threshold):
    """Whether values of a row's uint32 state are kept; the last counter is `column`, int32.

    The threshold is int32, `round(65536 p) - 32768`.
    """
    pair = mixed(state, column // 2)
    half = tl.where(column % 2 == 0, pair & 0xFFFF, pair >> 16)
    return half.to(tl.int16).to(tl.int32) >= threshold


@triton.jit
def factors_of_rows(seed_ptr, rows, columns, threshold, scale):
    """Factors of a tile by row and column: `scale` where kept, 0 where dropped; a NaN stays one."""
    states = mixed(tl.load(seed_ptr).to(tl.uint32), rows.to(tl.int32))
    return tl.where(is_kept(states[:, None], columns[None, :], threshold), scale, 0.0)


def threshold_of(dropout_p: float) -> int:
    """The smallest int16 half of a hash that keeps a value."""
    return round(2**16 * dropout_p) - 2**15
