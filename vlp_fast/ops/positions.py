"""DETR's `(x + p) W` where positions p are sums of few rows of a table: no x + p is ever written.

A linear layer distributes over the sum, and a 2-D sine position is one vector of the row of a grid
cell beside one of its column:

    (x + p) W = x W + (p_y W)[row] + (p_x W)[column]

The caller's ordinary linear layer projects the distinct positions of a batch into a table, about a
thousand rows, and this one adds two of them to each row of its product while it is in registers.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vlp_fast.ops.backends import register
from vlp_fast.ops.once_differentiable import once_differentiable
from vlp_fast.ops.operands import autocast, check_devices, distinct
from vlp_fast.ops.registry import Op
from vlp_fast.reference import positions as reference

_linear_with_positions = Op(
    "linear_with_positions(Tensor x, Tensor weight, Tensor bias, Tensor table, Tensor indices)"
    " -> Tensor",
    fake=lambda x, weight, *_: x.new_empty(x.shape[0], weight.shape[0]),
)
_sum_by_index = Op(
    "sum_by_index(Tensor x, Tensor indices, SymInt num_rows) -> Tensor",
    fake=lambda x, indices, num_rows: x.new_empty(
        num_rows, x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32)
    ),
)

register(_linear_with_positions, _sum_by_index, reference=reference, triton="positions")


class _LinearWithPositions(torch.autograd.Function):
    """Backward are one product for x, one for the weight, and a sum for each row of the table."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, table: Tensor, indices: Tensor
    ) -> Tensor:
        ctx.table_shape, ctx.table_dtype = table.shape, table.dtype
        ctx.save_for_backward(x, weight, indices)
        result: Tensor = _linear_with_positions(x, weight, bias, table, indices)
        return result

    @staticmethod
    @once_differentiable("linear_with_positions")
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight, indices = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, wants_table, _ = ctx.needs_input_grad
        num_rows, positioned = ctx.table_shape
        of_x = grad @ weight if wants_x else None
        of_weight = grad.T @ x if wants_weight else None
        of_bias = grad.sum(0) if wants_bias else None
        of_table = None
        if wants_table:
            sums = _sum_by_index(grad[:, :positioned], indices, num_rows)
            of_table = sums.to(ctx.table_dtype)
        return of_x, of_weight, of_bias, of_table, None


def linear_with_positions(
    x: Tensor, weight: Tensor, bias: Tensor, table: Tensor, indices: Tensor
) -> Tensor:
    """Apply a linear layer to rows, and add projected positions to its first outputs.

        out = x @ weight.T + bias
        out[t, :G] += sum_m table[indices[t, m]]

    Everything is added up in float32 (float64 for float64) and rounded once. Rows of a grid have
    the index of their row and of their column, rows of text -1. The gradient of the table is a sum
    in an order that the indices decide: the same bits in every run.

    Args:
        x: (T, D) floating point. Under autocast x, weight, bias and table are cast to its dtype.
        weight: (F, D), as `nn.Linear` has it.
        bias: (F,).
        table: (R, G), G at most F; queries and keys, say, of a projection to all three.
        indices: (T, M) int32 below R, M 1 or 2; one below 0 adds nothing. On a GPU nobody waits to
            see whether they are below R; Triton adds nothing then either.

    Returns:
        (T, F) in the dtype of x, differentiable once.

    Raises:
        ValueError: shapes, dtypes or devices disagree.

    Source: DETR (ECCV 2020), appendix A.4: positions are added to queries and keys of every layer.
    """
    _check_shapes(x, weight, bias, table, indices)
    operands = autocast(x, weight, bias, table)
    _check_dtypes(operands, indices)
    check_devices("linear_with_positions", *operands, indices)
    result: Tensor = _LinearWithPositions.apply(  # type: ignore[no-untyped-call]
        *distinct(*operands), indices
    )
    return result


def _check_shapes(x: Tensor, weight: Tensor, bias: Tensor, table: Tensor, indices: Tensor) -> None:
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"linear_with_positions: received x {tuple(x.shape)} and weight {tuple(weight.shape)}, "
            "expected (T, D) and (F, D); flatten leading dimensions"
        )
    if bias.shape != weight.shape[:1]:
        raise ValueError(
            f"linear_with_positions: received bias {tuple(bias.shape)}, expected "
            f"({weight.shape[0]},), one for each row of weight"
        )
    if table.ndim != 2 or table.shape[1] > weight.shape[0]:
        raise ValueError(
            f"linear_with_positions: received table {tuple(table.shape)}, expected (R, G) with G "
            f"at most {weight.shape[0]}, the outputs; project positions by the same weight"
        )
    if indices.ndim != 2 or indices.shape[0] != x.shape[0] or indices.shape[1] not in (1, 2):
        raise ValueError(
            f"linear_with_positions: received indices {tuple(indices.shape)}, expected "
            f"({x.shape[0]}, 1) or ({x.shape[0]}, 2), of table rows; -1 adds nothing"
        )


def _check_dtypes(operands: Sequence[Tensor], indices: Tensor) -> None:
    x, weight, bias, table = operands
    if not x.is_floating_point():
        raise ValueError(
            f"linear_with_positions: received x of {x.dtype}, expected floating point; cast it"
        )
    if not x.dtype == weight.dtype == bias.dtype == table.dtype:
        raise ValueError(
            f"linear_with_positions: received x of {x.dtype}, weight of {weight.dtype}, bias of "
            f"{bias.dtype} and table of {table.dtype}, expected one dtype; cast them, or run under "
            "torch.autocast"
        )
    if indices.dtype != torch.int32:
        raise ValueError(
            f"linear_with_positions: received indices of {indices.dtype}, expected torch.int32; "
            "call .int()"
        )
