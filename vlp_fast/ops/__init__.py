"""Operators: the public functions that may have several backends, and what they are fed.

`use` forces a backend for a `with` block; `backend_for` and `operators` tell what would run.

    assignment.py           linear_sum_assignment
    attention.py            attention over packed sequences
    attention_device.py     attention on a GPU by the extension's kernels
    attention_torch.py      attention by a fused kernel of PyTorch's
    backends.py             which implementation runs where, and who serves float64
    boxes.py                box algebra
    dictionary.py           nearest_code, gather_codes
    dictionary_device.py    the dictionary on a GPU by the extension's kernels
    dictionary_host.py      the dictionary on the CPU, a chunk of rows at a time
    dictionary_update.py    code_statistics, ema_update, laplace_ema_update
    dropout.py              rates and seeds of dropout
    flops.py                floating-point operations of these, for torch.utils.flop_counter
    grid.py                 Grid: valid cells of feature maps
    losses.py               set_losses of all decoder layers at once
    matching.py             match: cost and assignment of all decoder layers
    matching_extra.py       match with a cost of the caller's own added
    norm.py                 residual_norm: the stream and its norm in one pass
    once_differentiable.py  second derivatives are refused
    operands.py             one device, the dtype of autocast, no tensor twice
    packing.py              Packing: which rows are whose
    positions.py            linear_with_positions: x + p is never written
    registry.py             Op, preference by device and capability, use()
    targets.py              Targets and make_targets: annotated boxes, packed
"""

from vlp_fast.ops import boxes, flops
from vlp_fast.ops.assignment import linear_sum_assignment
from vlp_fast.ops.attention import attention, attention_kvpacked, attention_qkvpacked
from vlp_fast.ops.dictionary import gather_codes, nearest_code
from vlp_fast.ops.dictionary_update import (
    CodeStatistics,
    code_statistics,
    ema_update,
    laplace_ema_update,
)
from vlp_fast.ops.grid import Grid, gather_cells, make_grid, scatter_cells
from vlp_fast.ops.losses import SetLosses, set_losses
from vlp_fast.ops.matching import match
from vlp_fast.ops.norm import residual_norm
from vlp_fast.ops.packing import (
    Packing,
    make_packing,
    pack,
    select_sequences,
    uniform_packing,
    unpack,
)
from vlp_fast.ops.positions import linear_with_positions
from vlp_fast.ops.registry import backend_for, operators, use
from vlp_fast.ops.targets import Targets, make_targets

__all__ = [
    "CodeStatistics",
    "Grid",
    "Packing",
    "SetLosses",
    "Targets",
    "attention",
    "attention_kvpacked",
    "attention_qkvpacked",
    "backend_for",
    "boxes",
    "code_statistics",
    "ema_update",
    "flops",
    "gather_cells",
    "gather_codes",
    "laplace_ema_update",
    "linear_sum_assignment",
    "linear_with_positions",
    "make_grid",
    "make_packing",
    "make_targets",
    "match",
    "nearest_code",
    "operators",
    "pack",
    "residual_norm",
    "scatter_cells",
    "select_sequences",
    "set_losses",
    "uniform_packing",
    "unpack",
    "use",
]
