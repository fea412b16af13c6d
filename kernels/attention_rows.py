"""Tiles of packed rows: which one a program works on, what it reads and writes of them.

Rows (T, N, E) hold sequences one after the other. Where a tile starts takes 64 bits; places within
it take 32: addresses of all of them would take many registers.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vlp_fast.kernels.dropout import mixed
from vlp_fast.kernels.launch import IS_INTERPRETED, readable, with_neighbouring_columns

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)

WIDEST = 256
# Values from row to row: a tile of 128 rows lies within 2^31.
FARTHEST = 2**24
# Of the first dimension of a grid: NVIDIA's programming guide, table of compute capabilities.
MOST_PROGRAMS = 2**31 - 1


@triton.jit
def work_of(num_tiles, num_heads, order_ptr):
    """Tile, head and sequence of this program: those that share keys and values run together."""
    program = tl.program_id(0)
    group = program // num_tiles
    sequence = group // num_heads
    if order_ptr is not None:
        sequence = tl.load(order_ptr + sequence)
    return program % num_tiles, group % num_heads, sequence


@triton.jit
def bounds_of(cu_seqlens_ptr, sequence):
    """First row of a sequence, int64, and its length, int32."""
    start = tl.load(cu_seqlens_ptr + sequence)
    length = tl.load(cu_seqlens_ptr + sequence + 1) - start
    return start.to(tl.int64), length.to(tl.int32)


@triton.jit
def rows_of(rows_ptr, stride_t, stride_n, start, head, length):
    """The rows of a sequence and head as a tuple: where they start, their stride, their number."""
    return rows_ptr + start * stride_t + head.to(tl.int64) * stride_n, stride_t, length


@triton.jit
def _places(rows, first, BLOCK: tl.constexpr, BLOCK_E: tl.constexpr):
    start, stride, _ = rows
    tile = start + tl.cast(first, tl.int64) * stride
    return tile + (tl.arange(0, BLOCK)[:, None] * stride + tl.arange(0, BLOCK_E)[None, :])


@triton.jit
def _inside(rows, first, WIDTH: tl.constexpr, BLOCK: tl.constexpr, BLOCK_E: tl.constexpr):
    is_row = first + tl.arange(0, BLOCK) < rows[2]
    return is_row[:, None] & (tl.arange(0, BLOCK_E) < WIDTH)[None, :]


@triton.jit
def load_tile(
    rows,
    first,
    WHOLE: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """(BLOCK, BLOCK_E) values from row `first` on; a WHOLE tile lies within its sequence.

    Behind the sequence are zeros, whatever lies there in memory.
    """
    places = _places(rows, first, BLOCK, BLOCK_E)
    if not WHOLE:
        tile = tl.load(places, mask=_inside(rows, first, WIDTH, BLOCK, BLOCK_E), other=0.0)
    elif WIDTH < BLOCK_E:
        tile = tl.load(places, mask=(tl.arange(0, BLOCK_E) < WIDTH)[None, :], other=0.0)
    else:
        tile = tl.load(places)
    return tile


@triton.jit
def store_tile(rows, first, tile, WIDTH: tl.constexpr, BLOCK: tl.constexpr, BLOCK_E: tl.constexpr):
    """Write the rows of a tile that lie within the sequence."""
    places = _places(rows, first, BLOCK, BLOCK_E)
    tile = tile.to(rows[0].dtype.element_ty)
    tl.store(places, tile, mask=_inside(rows, first, WIDTH, BLOCK, BLOCK_E))


@triton.jit
def keys_seen(first_query, num_queries, num_keys, CAUSAL: tl.constexpr, BLOCK: tl.constexpr):
    """Keys that each of BLOCK queries sees, that all see, and that any sees: all from key 0 on."""
    ends = tl.zeros((BLOCK,), tl.int32) + num_keys
    whole, end = num_keys, num_keys
    if CAUSAL:
        seen = first_query + 1 - num_queries + num_keys
        ends = tl.minimum(seen + tl.arange(0, BLOCK), num_keys)
        whole = tl.minimum(tl.maximum(seen, 0), num_keys)
        end = tl.minimum(seen + BLOCK - 1, num_keys)
    return ends, whole, end


@triton.jit
def queries_seeing(
    first_key,
    num_queries,
    num_keys,
    CAUSAL: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Begin and end of BLOCK_M queries at a time that see any of BLOCK_N keys.

    Those that see all of them come first, then the end of the sequence, then the diagonal.
    """
    whole_end = num_queries // BLOCK_M * BLOCK_M
    parts = ((0, whole_end), (whole_end, num_queries))
    if CAUSAL:
        seeing = first_key + num_queries - num_keys  # the first that sees any
        start = tl.maximum(seeing, 0) // BLOCK_M * BLOCK_M
        whole = tl.cdiv(tl.maximum(seeing + BLOCK_N - 1, 0), BLOCK_M) * BLOCK_M
        whole = tl.minimum(whole, whole_end)
        parts = ((whole, whole_end), (whole_end, num_queries), (start, whole))
    return parts


@triton.jit
def row_states(seed_ptr, sequence, head, rows):
    """States of the dropout hash of rows, lacking the key."""
    state = mixed(mixed(tl.load(seed_ptr).to(tl.uint32), sequence), head)
    return mixed(state, rows)


if IS_INTERPRETED:

    def until(count):
        """A number from memory that a loop runs up to; see `launch.bound` for why."""
        return count if isinstance(count, int) else int(count.handle.data.item())

else:

    @triton.jit
    def until(count):
        """A number from memory that a loop runs up to."""
        return count


def operand(rows: Tensor) -> Tensor:
    """Rows (T, N, E) as programs read them: neither columns nor rows too far apart."""
    rows = with_neighbouring_columns(readable(rows))
    return rows if rows.stride(0) < FARTHEST else rows.contiguous()


def block_width(width: int) -> int:
    """Columns of a tile: products take powers of two from 16.

    Raises:
        ValueError: heads are too wide to keep a tile on chip.
    """
    if width > WIDEST:
        raise ValueError(
            f"attention: received heads of width {width} for Triton, expected at most {WIDEST}; "
            "use the reference backend"
        )
    return max(16, triton.next_power_of_2(width))


def precision_of(dtype: torch.dtype) -> str:
    """How products of float32 are taken; those of half precision are exact."""
    allows_tf32 = torch.backends.cuda.matmul.fp32_precision == "tf32"
    return "tf32" if dtype == torch.float32 and allows_tf32 else "ieee"


def programs(tiles: int, heads: int, sequences: int) -> int:
    """Number of programs, one for each tile of the longest sequence, head and sequence.

    Raises:
        ValueError: CUDA has no grid as large.
    """
    count = tiles * heads * sequences
    if count > MOST_PROGRAMS:
        raise ValueError(
            f"attention: received {sequences} sequences of up to {tiles} tiles with {heads} heads "
            f"for Triton, expected at most {MOST_PROGRAMS} tiles in all; attend to fewer sequences "
            "at a time"
        )
    return count
