"""Dropout as a function of where a value stands: nothing is stored, every backend draws the same.

With uint32 arithmetic that wraps around, let

    mix(x): x ^= x >> 16; x *= 0x85EBCA6B; x ^= x >> 13; x *= 0xC2B2AE35; x ^= x >> 16
    h = seed;  for c in (counters of the place, last counter // 2):  h = mix(h + c * 0x9E3779B9)

and keep the value if the low (even last counter) or high (odd) half of h, as int16, is at least
`round(65536 p) - 32768`. `mix` is the finaliser of MurmurHash3.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

# Murmur3's finaliser constants as int32, and the golden ratio that separates consecutive counters.
_MIX1, _MIX2, _GOLDEN = -2048144789, -1028477387, -1640531527


def dropout_factors(
    places: Iterable[tuple[int, int]],
    columns: int,
    *,
    dropout_p: float,
    seed: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """Factors of values: 0 where dropped, `1 / (1 - dropout_p)` where kept.

    Args:
        places: first value and number of values of each counter but the last.
        columns: number of values of the last one, from 0.
        dropout_p: probability of dropping.
        seed: () integer, taken modulo 2^32.
        dtype: of the factors.

    Returns:
        One dimension for each counter, on the device of `seed`.
    """
    state = seed.view(1).to(torch.int32)
    for start, size in (*places, (0, (columns + 1) // 2)):
        counter = torch.arange(start, start + size, dtype=torch.int32, device=seed.device)
        state = _mix_(state[..., None] + counter * _GOLDEN)
    halves = state[0].view(torch.int16)[..., :columns]
    kept = halves >= round(dropout_p * 2**16) - 2**15
    return kept.to(dtype).div_(1 - dropout_p)


def hashed(*counters: Tensor) -> Tensor:
    """Numbers as random as those of dropout: h = mix(h + c * 0x9E3779B9) for c in the counters.

    Args:
        counters: integers of one shape, each taken modulo 2^32.

    Returns:
        int32 of that shape, all values equally often.
    """
    state = torch.full_like(counters[0], _GOLDEN, dtype=torch.int32)  # mix(0) is 0
    for counter in counters:
        state = _mix_(state + counter.to(torch.int32) * _GOLDEN)
    return state


def _mix_(x: Tensor) -> Tensor:
    """Murmur3's 32-bit finaliser in place; torch shifts int32 with its sign, which is masked."""
    x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF)).mul_(_MIX1)
    x.bitwise_xor_((x >> 13).bitwise_and_(0x7FFFF)).mul_(_MIX2)
    return x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))
