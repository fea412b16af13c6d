"""Matching predictions to targets: DETR's cost and assignment, and SciPy's interface to the latter.

DETR (ECCV 2020), section 3.1, eq. 1; E2E-VLP (ACL 2021), section 3.1.3. Targets of a batch are
packed end to end, and one call matches all decoder layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vlp_fast.ops.packing import moved
from vlp_fast.ops.registry import Op
from vlp_fast.reference import matching as reference

_matching_cost = Op(
    "matching_cost(Tensor logits, Tensor boxes, Tensor target_boxes, Tensor target_labels,"
    " Tensor target_attributes, Tensor image_of, Tensor? attribute_logits, float cost_class,"
    " float cost_bbox, float cost_giou, float cost_attribute) -> Tensor",
    fake=lambda logits, boxes, target_boxes, *rest: boxes.new_empty(
        (boxes.shape[0], target_boxes.shape[0], boxes.shape[2]), dtype=torch.float32
    ),
)
_assign_targets = Op(
    "assign_targets(Tensor cost, Tensor cu_targets, SymInt max_targets) -> Tensor",
    fake=lambda cost, cu_targets, max_targets: cost.new_empty(cost.shape[:2], dtype=torch.int64),
)
_assign = Op(
    "linear_sum_assignment(Tensor cost, bool maximize) -> (Tensor, Tensor)",
    fake=lambda cost, maximize: tuple(
        cost.new_empty(
            (cost.shape[0], torch.sym_min(cost.shape[1], cost.shape[2])), dtype=torch.int64
        )
        for _ in range(2)
    ),
)

_matching_cost.impl("reference")(reference.matching_cost)
_assign.impl("reference")(reference.assign)


@_assign_targets.impl("reference")
def _(cost: Tensor, cu_targets: Tensor, max_targets: int) -> Tensor:
    return reference.assign_targets(cost, cu_targets)


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """Annotated boxes of a batch of B images, packed image after image: T in all."""

    boxes: Tensor
    """(T, 4) float32, `(cx, cy, w, h)` in [0, 1]."""
    labels: Tensor
    """(T,) int64."""
    attributes: Tensor
    """(T,) int64, -1 where none is annotated."""
    cu_targets: Tensor
    """(B + 1,) int32, first target of each image, then T."""
    image_of: Tensor
    """(T,) int64."""
    counts: tuple[int, ...]
    """Targets of each image, on the host."""

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "Targets":
        """Copy the annotations to another device; counts stay on the host."""
        return moved(self, device, non_blocking)


def make_targets(images: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Targets:
    """Pack `(boxes (n, 4), labels (n,), attributes (n,))` of each image; n may be 0.

    Raises:
        ValueError: the three of an image differ in n.
    """
    for image, (boxes, labels, attributes) in enumerate(images):
        if boxes.shape != (len(labels), 4) or labels.shape != attributes.shape:
            raise ValueError(
                f"make_targets: received boxes {tuple(boxes.shape)}, labels {tuple(labels.shape)} "
                f"and attributes {tuple(attributes.shape)} for image {image}, expected (n, 4), "
                "(n,) and (n,)"
            )
    counts = tuple(len(labels) for _, labels, _ in images)
    lengths = torch.tensor([0, *counts])
    return Targets(
        boxes=torch.cat([torch.empty(0, 4), *(boxes.float() for boxes, _, _ in images)]),
        labels=torch.cat([lengths[:0], *(labels.long() for _, labels, _ in images)]),
        attributes=torch.cat([lengths[:0], *(values.long() for _, _, values in images)]),
        cu_targets=lengths.cumsum(0).int(),
        image_of=torch.arange(len(counts)).repeat_interleave(lengths[1:]),
        counts=counts,
    )


@torch.no_grad()
def match(
    logits: Tensor,
    boxes: Tensor,
    targets: Targets,
    *,
    attribute_logits: Tensor | None = None,
    cost_class: float = 1.0,
    cost_bbox: float = 5.0,
    cost_giou: float = 2.0,
    cost_attribute: float = 1.0,
) -> Tensor:
    """Match each target to one query of its image, at every decoder layer.

    The assignment minimises the sum of `- cost_class p(label) + cost_bbox |b - t|_1
    - cost_giou GIoU(b, t) - cost_attribute p(attribute)`, the last term where an attribute is
    annotated. A prediction that is not finite costs as much as possible, and never raises.

    Args:
        logits: (A, B, Q, C + 1) floating point, C the classes; the last is "no object".
        boxes: (A, B, Q, 4), `(cx, cy, w, h)` in [0, 1].
        targets: the T boxes of the batch, on the same device.
        attribute_logits: (A, B, Q, R + 1), R the attributes; the last is "no attribute", which no
            target has. `None` for no attribute term.

    Returns:
        (A, T) int64: the query of each target, -1 for those left over where an image has more
        targets than queries.

    Raises:
        ValueError: the shapes disagree.

    Source: DETR, eq. 1, and `HungarianMatcher` of its public code.
    """
    _check_predictions(logits, boxes, targets, attribute_logits)
    cost = _matching_cost(
        logits,
        boxes,
        targets.boxes,
        targets.labels,
        targets.attributes,
        targets.image_of,
        attribute_logits,
        float(cost_class),
        float(cost_bbox),
        float(cost_giou),
        float(cost_attribute),
    )
    result: Tensor = _assign_targets(cost, targets.cu_targets, max(targets.counts, default=0))
    return result


@overload
def linear_sum_assignment(cost: Tensor, maximize: bool = False) -> tuple[Tensor, Tensor]: ...
@overload
def linear_sum_assignment(
    cost: ArrayLike, maximize: bool = False
) -> tuple[NDArray[np.intp], NDArray[np.intp]]: ...
def linear_sum_assignment(cost: Any, maximize: bool = False) -> tuple[Any, Any]:
    """Solve the linear sum assignment problem, as `scipy.optimize.linear_sum_assignment`.

    Examples:
        >>> rows, columns = linear_sum_assignment(torch.tensor([[4., 1, 3], [2, 0, 5], [3, 2, 2]]))
        >>> columns
        tensor([1, 0, 2])

    Args:
        cost: (n, m), or (B, n, m) for B problems at once; a Tensor on any device, or anything that
            `numpy.asarray` takes. Numbers or booleans; +inf forbids a pair (-inf if maximizing).
        maximize: look for the largest sum instead of the smallest.

    Returns:
        `(row_ind, col_ind)`, (min(n, m),) or (B, min(n, m)) int64, `row_ind` ascending; tensors on
        the device of `cost` for a Tensor, arrays otherwise.

    Raises:
        ValueError: not a matrix or a batch of them, not numerical, an invalid numeric entry (NaN,
            or -inf when minimizing), or infeasible.

    Source: the contract is SciPy's.
    """
    if not isinstance(cost, Tensor):
        pairs = linear_sum_assignment(torch.from_numpy(_numerical(cost)), maximize)
        return pairs[0].numpy(), pairs[1].numpy()
    if cost.ndim not in (2, 3) or cost.is_complex():
        raise ValueError(
            f"linear_sum_assignment: received {cost.dtype} of shape {tuple(cost.shape)}, expected "
            "a matrix (2-D) or a batch of matrices (3-D) of real numbers"
        )
    batch = cost.detach() if cost.ndim == 3 else cost.detach()[None]
    rows, columns = _assign(batch, bool(maximize))
    return (rows, columns) if cost.ndim == 3 else (rows[0], columns[0])


def _numerical(cost: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(cost)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise ValueError(
            f"linear_sum_assignment: received an array of {array.dtype}, expected a matrix "
            "containing numerical entries"
        )
    # `np.array` also copies what torch could not share: negative strides, read-only memory.
    return np.array(array, dtype=np.complex128 if np.iscomplexobj(array) else np.float64)


def _check_predictions(
    logits: Tensor, boxes: Tensor, targets: Targets, attribute_logits: Tensor | None
) -> None:
    queries = tuple(logits.shape[:3])
    if logits.ndim != 4 or tuple(boxes.shape) != (*queries, 4):
        raise ValueError(
            f"match: received logits {tuple(logits.shape)} and boxes {tuple(boxes.shape)}, "
            "expected (A, B, Q, C + 1) and (A, B, Q, 4)"
        )
    if attribute_logits is not None and tuple(attribute_logits.shape[:3]) != queries:
        raise ValueError(
            f"match: received attribute_logits {tuple(attribute_logits.shape)}, expected "
            f"{queries} and the attributes"
        )
    if len(targets.counts) != queries[1]:
        raise ValueError(
            f"match: received targets of {len(targets.counts)} images, expected {queries[1]}"
        )
