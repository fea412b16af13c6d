"""SciPy's linear sum assignment, for one matrix or many, arrays or tensors, on any device."""

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vlp_fast import native
from vlp_fast.ops.registry import Op, forced_backend
from vlp_fast.reference import assignment as reference

_assign = Op(
    "linear_sum_assignment(Tensor cost, Tensor? num_rows, bool maximize) -> Tensor",
    fake=lambda cost, num_rows, maximize: cost.new_empty(cost.shape[:2], dtype=torch.int64),
)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_REFUSALS = {2: "cost matrix is infeasible", 3: "matrix contains invalid numeric entries"}

_assign.impl("reference")(reference.assign)


def _on_host(cost: Tensor, num_rows: Tensor | None, maximize: bool) -> Tensor:
    columns, status = _unwritten(cost)
    threads = torch.get_num_threads()
    native.required().assign(_real(cost), num_rows, columns, status, maximize, threads)
    worst = int(status.max()) if status.numel() else 0
    if worst in _REFUSALS:
        raise ValueError(f"linear_sum_assignment: {_REFUSALS[worst]}")
    return columns


def _on_device(cost: Tensor, num_rows: Tensor | None, maximize: bool) -> Tensor:
    columns, status = _unwritten(cost)
    native.required().assign_cuda(_real(cost), num_rows, columns, status, maximize)
    return columns


if native.extension() is not None:
    _assign.impl("cpp")(_on_host)
if native.has_cuda():
    _assign.impl("cuda")(_on_device)


def _real(cost: Tensor) -> Tensor:
    if cost.dtype in (torch.float32, torch.float64):
        return cost
    return cost.float() if cost.dtype in (torch.float16, torch.bfloat16) else cost.double()


def _unwritten(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Column of each row, -1 where no problem has the row, and the outcome of each problem."""
    columns = cost.new_full(cost.shape[:2], -1, dtype=torch.int64)
    return columns, cost.new_empty((cost.shape[0], 1), dtype=torch.int8)


@overload
def linear_sum_assignment(
    cost: Tensor, maximize: bool = False, *, num_rows: Tensor | Sequence[int] | None = None
) -> tuple[Tensor, Tensor]: ...
@overload
def linear_sum_assignment(
    cost: ArrayLike, maximize: bool = False, *, num_rows: Sequence[int] | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]: ...
def linear_sum_assignment(
    cost: Any, maximize: bool = False, *, num_rows: Any = None
) -> tuple[Any, Any]:
    """Solve the linear sum assignment problem, as `scipy.optimize.linear_sum_assignment`.

    Examples:
        >>> rows, columns = linear_sum_assignment(torch.tensor([[4., 1, 3], [2, 0, 5], [3, 2, 2]]))
        >>> columns
        tensor([1, 0, 2])

    Args:
        cost: (n, m), or (B, n, m) for B problems at once; a Tensor on any device, or anything that
            `numpy.asarray` takes. Numbers or booleans; +inf forbids a pair (-inf if maximizing).
        maximize: look for the largest sum instead of the smallest.
        num_rows: (B,) integers, for matrices of different heights in a 3-D batch: the first
            `num_rows[b]` rows of matrix b are its problem, the others are never read.

    Returns:
        `(row_ind, col_ind)`, (min(n, m),) or (B, min(n, m)) int64, `row_ind` ascending; tensors on
        the device of `cost` for a Tensor, arrays otherwise. With `num_rows`, -1 in both behind the
        pairs of a problem that has fewer.

    Raises:
        TypeError: an array or a tensor of another kind than real numbers and booleans.
        ValueError: not a matrix or a batch of them, an invalid numeric entry (NaN,
            or -inf when minimizing), or infeasible. On a GPU the last two would be a wait for the
            device: the answer of such a problem is -1 instead. `num_rows` not (B,) or outside of 0
            to n; on a GPU the latter is clipped.

    Source: the contract is SciPy's.
    """
    if not isinstance(cost, Tensor):
        array = _numerical(cost)
        _check_shape(array, num_rows)
        if array.ndim == 2 and num_rows is None and _is_cpp():
            return _solve_array(array, bool(maximize))
        # The copy has what torch could not share: negative strides, read-only memory.
        tensor = torch.from_numpy(np.array(array, order="C"))
        pairs = linear_sum_assignment(tensor, maximize, num_rows=num_rows)
        return pairs[0].numpy(), pairs[1].numpy()
    if num_rows is None and _is_plain_matrix(cost) and _is_cpp():
        rows, columns = _solve_array(cost.detach().numpy(), bool(maximize))
        return torch.from_numpy(rows), torch.from_numpy(columns)
    if cost.is_complex():
        raise TypeError(
            f"linear_sum_assignment: received a tensor of {cost.dtype}, expected real numbers"
        )
    _check_shape(cost, num_rows)
    batch = cost.detach() if cost.ndim == 3 else cost.detach()[None]
    heights = None if num_rows is None else _heights(num_rows, batch)
    pairs = _pairs(_assign(batch, heights, bool(maximize)), batch.shape[2])
    return pairs if cost.ndim == 3 else (pairs[0][0], pairs[1][0])


def _check_shape(cost: Tensor | NDArray[Any], num_rows: object) -> None:
    if cost.ndim not in (2, 3):
        raise ValueError(
            f"linear_sum_assignment: received {cost.dtype} of shape {tuple(cost.shape)}, expected "
            "a matrix (2-D) or a batch of matrices (3-D)"
        )
    if num_rows is not None and cost.ndim == 2:
        raise ValueError(
            "linear_sum_assignment: received num_rows with one matrix, expected a batch (3-D); "
            "pass cost[:n] instead"
        )


def _is_plain_matrix(cost: Tensor) -> bool:
    """Whether NumPy can look at the tensor: not while it is traced, and not if it has no values."""
    return (
        not torch.compiler.is_compiling()
        and type(cost) is Tensor
        and cost.ndim == 2
        and cost.device.type == "cpu"
        and cost.dtype in (torch.float32, torch.float64)
        and not cost.is_neg()
        and not torch._C._is_tracing()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.peek_interpreter_stack() is None
    )


def _is_cpp() -> bool:
    """Whether the backend `cpp` runs on the CPU now: as `backend_for` says, ten times as fast."""
    return "cpp" in _assign.backends and forced_backend(_assign) in (None, "cpp")


def _solve_array(cost: NDArray[Any], maximize: bool) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """One matrix, past the operator: its call alone takes five times as long as a small problem."""
    if cost.dtype != np.float64 or not cost.flags.aligned:
        cost = np.require(cost, np.float64, "A")
    rows, columns, status = native.required().assign_array(cost, maximize)
    if status in _REFUSALS:
        raise ValueError(f"linear_sum_assignment: {_REFUSALS[status]}")
    return rows, columns


def _heights(num_rows: Tensor | Sequence[int], batch: Tensor) -> Tensor:
    """`num_rows` as (B,) int32 on the device of the batch; checked where that is no wait."""
    given = num_rows if isinstance(num_rows, Tensor) else torch.from_numpy(_integers(num_rows))
    count, most = batch.shape[:2]
    if given.shape != (count,) or given.dtype not in INTEGERS:
        raise ValueError(
            f"linear_sum_assignment: received num_rows of {given.dtype} and shape "
            f"{tuple(given.shape)}, expected {count} integers, one for each matrix"
        )
    given = given.long()
    if given.device.type == "cpu" and count and not torch.compiler.is_compiling():
        low, high = int(given.min()), int(given.max())
        if low < 0 or high > most:
            raise ValueError(
                f"linear_sum_assignment: received num_rows from {low} to {high}, expected 0 to "
                f"{most}, the rows of a matrix"
            )
    device = batch.device
    return given.clamp(0, most).to(device, torch.int32, non_blocking=device.type == "cuda")


def _integers(num_rows: Sequence[int]) -> NDArray[Any]:
    array = np.array(num_rows)
    return array.astype(np.int64) if array.dtype.kind in "iu" or not array.size else array


def _pairs(column_of_row: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Rows and columns (B, min(n, m)) of the rows (B, n) that have a column, -1 behind them."""
    count, height = column_of_row.shape
    if height <= width:
        rows = torch.arange(height, device=column_of_row.device).expand(count, -1)
        return rows.where(column_of_row >= 0, -1), column_of_row
    order = (column_of_row < 0).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
    columns = column_of_row.gather(1, order)
    return order.masked_fill(columns < 0, -1), columns


def _numerical(cost: ArrayLike) -> NDArray[np.float64]:
    """As SciPy reads it: lists entry by entry, arrays only where float64 holds their dtype."""
    array = cost if isinstance(cost, np.ndarray) else np.asarray(cost, dtype=np.float64)
    return array.astype(np.float64, casting="safe", copy=False)
