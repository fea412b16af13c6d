"""Matching predictions to targets: DETR's cost and assignment in one operator.

DETR (ECCV 2020), section 3.1, eq. 1; E2E-VLP (ACL 2021), section 3.1.3. One call matches all
decoder layers. No backend ever holds the cost of all targets against the queries of all images.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from vlp_fast import native
from vlp_fast.ops.matching_extra import images_of, solved, with_extra
from vlp_fast.ops.registry import Op
from vlp_fast.ops.targets import Targets
from vlp_fast.reference.assignment import assign_targets
from vlp_fast.reference.matching import matching_cost

ClassCost = Literal["softmax", "sigmoid", "focal"]
CLASS_COSTS: tuple[str, ...] = get_args(ClassCost)


class _Call(NamedTuple):
    """Arguments of the operator, in the order of its schema."""

    logits: Tensor
    boxes: Tensor
    attribute_logits: Tensor | None
    target_boxes: Tensor
    labels: Tensor
    attributes: Tensor
    cu_targets: Tensor
    max_targets: int
    class_cost: str
    weights: Sequence[float]  # of class, L1, GIoU, attribute; alpha and gamma of the focal cost

    def empty(self) -> tuple[Tensor, Tensor]:
        """Unwritten results: matches (A, T) int64, non_finite (A, B) bool."""
        layers, images = self.boxes.shape[:2]
        return (
            self.boxes.new_empty((layers, self.target_boxes.shape[0]), dtype=torch.int64),
            self.boxes.new_empty((layers, images), dtype=torch.bool),
        )

    def precision(self) -> torch.dtype:
        """What the extension computes in."""
        is_wide = torch.float64 in (self.logits.dtype, self.boxes.dtype)
        return torch.float64 if is_wide else torch.float32

    def cost(self, image_of: Tensor) -> tuple[Tensor, Tensor]:
        """All of the cost, (A, T, Q), and whether it was finite; the image of each target."""
        return matching_cost(
            self.logits,
            self.boxes,
            self.attribute_logits,
            self.target_boxes,
            self.labels,
            self.attributes,
            image_of,
            self.class_cost,
            self.weights,
        )

    def inputs(self) -> dict[str, object]:
        """What the extension reads."""
        return {
            "logits": self.logits,
            "boxes": self.boxes,
            "attribute_logits": self.attribute_logits,
            "target_boxes": self.target_boxes.float().contiguous(),
            "labels": self.labels.contiguous(),
            "attributes": self.attributes.contiguous(),
            "class_cost": CLASS_COSTS.index(self.class_cost),
            "weights": self.weights,
        }


_match = Op(
    "match(Tensor logits, Tensor boxes, Tensor? attribute_logits, Tensor target_boxes,"
    " Tensor labels, Tensor attributes, Tensor cu_targets, SymInt max_targets,"
    " str class_cost, float[] weights) -> (Tensor, Tensor)",
    fake=lambda *args: _Call(*args).empty(),
)


@_match.impl("reference")
def _in_torch(*args: Any) -> tuple[Tensor, Tensor]:
    call = _Call(*args)
    images, num_targets = len(call.cu_targets) - 1, len(call.labels)
    image_of = torch.arange(images, device=call.labels.device).repeat_interleave(
        call.cu_targets.diff(), output_size=num_targets
    )
    cost, is_finite = call.cost(image_of)
    bad = (~is_finite).any(-1).int()
    bad_of_image = bad.new_zeros(call.boxes.shape[:2]).index_add(1, image_of, bad)
    return assign_targets(cost, call.cu_targets), bad_of_image > 0


def _on_host(*args: Any) -> tuple[Tensor, Tensor]:
    call = _Call(*args)
    matches, non_finite = call.empty()
    precision, attributes = call.precision(), call.attribute_logits
    logits = call.logits.to(precision)
    predictions = call.inputs() | {
        "logits": logits.softmax(-1) if call.class_cost == "softmax" else _sigmoid(logits),
        "attribute_logits": None if attributes is None else attributes.to(precision).softmax(-1),
        "are_probabilities": True,
        "normaliser": None,
        "attribute_normaliser": None,
    }
    threads = torch.get_num_threads()
    native.required().match(predictions, call.cu_targets, matches, non_finite, threads)
    return matches, non_finite


def _sigmoid(logits: Tensor) -> Tensor:
    """NaN for +inf, which must not win."""
    return logits.masked_fill(logits == torch.inf, torch.nan).sigmoid()


def _on_device(*args: Any) -> tuple[Tensor, Tensor]:
    call = _Call(*args)
    matches, non_finite = call.empty()
    module, queries = native.required(), call.boxes.shape[2]
    unwritten = call.boxes.new_empty((2, *call.boxes.shape[:3]), dtype=call.precision())
    predictions = call.inputs() | {
        "are_probabilities": False,
        "normaliser": unwritten[0] if call.class_cost == "softmax" else None,
        "attribute_normaliser": None if call.attribute_logits is None else unwritten[1],
    }
    scratch = None
    if not module.fits_in_shared(call.max_targets, queries, call.boxes.get_device()):
        scratch = call.boxes.new_empty((*matches.shape, queries), dtype=torch.float32)
    longest = int(call.max_targets)
    module.match_cuda(predictions, call.cu_targets, matches, non_finite, longest, scratch)
    return matches, non_finite


if native.extension() is not None:
    _match.impl("cpp")(_on_host)
if native.has_cuda():
    _match.impl("cuda")(_on_device)


@torch.no_grad()
def match(
    logits: Tensor,
    boxes: Tensor,
    targets: Targets,
    *,
    attribute_logits: Tensor | None = None,
    class_cost: ClassCost = "softmax",
    cost_class: float = 1.0,
    cost_bbox: float = 5.0,
    cost_giou: float = 2.0,
    cost_attribute: float = 1.0,
    focal_alpha: float = 0.25,
    focal_gamma: float = 2.0,
    extra_cost: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Match each target to one query of its image, at every decoder layer.

    The assignment minimises the sum of `cost_class c(label) + cost_bbox |b - t|_1
    - cost_giou GIoU(b, t) - cost_attribute p(attribute)`, the last term where an attribute is
    annotated. `c` is minus the softmax probability (DETR), minus the sigmoid probability, or the
    focal cost of Deformable DETR. A prediction that is not finite, or a label outside of the
    logits, costs as much as possible and never raises.

    Args:
        logits: (A, B, Q, N) floating point; for "softmax" N = C + 1, the C classes and "no object",
            otherwise N = C.
        boxes: (A, B, Q, 4), `(cx, cy, w, h)` in [0, 1].
        targets: the T boxes of the batch, on the same device.
        attribute_logits: (A, B, Q, R + 1), R the attributes; the last is "no attribute", which no
            target has; always a softmax. `None` for no attribute term.
        class_cost: "softmax", "sigmoid" or "focal".
        cost_class: weight of the class term; `cost_bbox`, `cost_giou` and `cost_attribute` those of
            the others.
        focal_alpha: weight of the positive part of the focal cost.
        focal_gamma: its exponent.
        extra_cost: (A, T, Q) floating point, added: of each target against the queries of its
            image, as of masks or keypoints. All of the cost is written down then, in PyTorch; what
            is not finite costs as much as possible.

    Returns:
        `(matches, non_finite)`: (A, T) int64, the query of each target, -1 for those left over
        where an image has more targets than queries; (A, B) bool, whether some cost of an image
        with targets was not finite. Both on the device, without a wait for it.

    Raises:
        ValueError: the shapes disagree; another `class_cost`.

    Source: DETR, eq. 1, and `HungarianMatcher` of its public code; Deformable DETR's for "focal".
    """
    _check(logits, boxes, targets, attribute_logits, class_cost)
    weights = (cost_class, cost_bbox, cost_giou, cost_attribute, focal_alpha, focal_gamma)
    call = _Call(
        logits,
        boxes,
        attribute_logits,
        targets.boxes,
        targets.labels,
        targets.attributes,
        targets.cu_targets,
        targets.max_count,
        class_cost,
        [float(weight) for weight in weights],
    )
    if extra_cost is not None:
        return _with_extra(call, targets, extra_cost)
    result: tuple[Tensor, Tensor] = _match(*call)
    return result


def _with_extra(call: _Call, targets: Targets, extra_cost: Tensor) -> tuple[Tensor, Tensor]:
    layers, _, queries = call.boxes.shape[:3]
    expected = (layers, len(call.labels), queries)
    if tuple(extra_cost.shape) != expected:
        raise ValueError(
            f"match: received extra_cost {tuple(extra_cost.shape)}, expected {expected}: layers, "
            "targets, queries"
        )
    cost, is_finite = with_extra(*call.cost(targets.image_of), extra_cost)
    return solved(cost, targets), images_of(~is_finite.all(-1), targets)


def _check(
    logits: Tensor,
    boxes: Tensor,
    targets: Targets,
    attribute_logits: Tensor | None,
    class_cost: str,
) -> None:
    if class_cost not in CLASS_COSTS:
        raise ValueError(
            f"match: received class_cost {class_cost!r}, expected one of {CLASS_COSTS}"
        )
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
