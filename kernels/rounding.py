"""float32 values as a narrower dtype holds them, for programs that go on with what they store."""

import torch
import triton
import triton.language as tl

TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


@triton.jit
def rounded(value, DTYPE: tl.constexpr):
    """float32 values, rounded to a dtype to nearest even, as float32."""
    if tl.bfloat16 == DTYPE:  # by hand: Triton's interpreter cuts
        bits = value.to(tl.int32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & -65536
        # The carry would turn a GPU's NaN, all bits set, into a zero.
        value = tl.where(value == value, bits.to(tl.float32, bitcast=True), value)
    else:
        value = value.to(DTYPE).to(tl.float32)
    return value
