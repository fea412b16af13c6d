"""Which prediction belongs to which target, at every set of queries: what set losses are sums over.

Shape suffixes: A sets of queries (decoder layers, an encoder's proposals, denoising parts), B
images, Q queries, C classes, T targets of all images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vlp_fast import ops
from vlp_fast.reference.boxes import cxcywh_to_xyxy, iou
from vlp_fast.reference.losses import box_losses
from vlp_fast.reference.precision import widen


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchedPairs:
    """The targets of a batch and the query of each, at each of A sets."""

    boxes: Tensor
    """(T, 4), `(cx, cy, w, h)` in [0, 1]."""
    labels: Tensor
    """(T,) int64."""
    image_of: Tensor
    """(T,) int64."""
    matches: Tensor
    """(A, T) int64, the query of each target in its image, -1 for none."""

    @classmethod
    def of(cls, targets: ops.Targets, matches: Tensor) -> "MatchedPairs":
        """Takes targets (T) with their matches: (A, T), or (A, G, T) of G groups of queries."""
        pairs = cls(
            boxes=targets.boxes,
            labels=targets.labels,
            image_of=targets.image_of,
            matches=matches,
        )
        return pairs if matches.ndim == 2 else pairs.repeated(matches)

    @classmethod
    def of_indices(
        cls, targets: ops.Targets, indices: Sequence[tuple[Tensor, Tensor]], *, num_sets: int = 1
    ) -> "MatchedPairs":
        """Takes pairs as DETR writes them: of another matcher, or those of denoising queries.

        A target may have several queries, or none.

        Args:
            targets: of B images.
            indices: of each image the queries, and the number of each one's target in that image:
                (n,) int64 each.
            num_sets: A, the sets of queries that have the same pairs.

        Returns:
            Of all n pairs of all images, with matches (A, n).

        Raises:
            ValueError: for pairs of another number of images.
        """
        if len(indices) != len(targets.counts):
            raise ValueError(
                f"MatchedPairs.of_indices: received pairs of {len(indices)} images, expected "
                f"{len(targets.counts)}, those of the targets"
            )
        device = targets.boxes.device
        lengths = torch.tensor([len(queries) for queries, _ in indices], device="cpu")
        image_of = torch.arange(len(indices), device="cpu").repeat_interleave(lengths)
        image_of = image_of.to(device, non_blocking=True)
        queries, numbers = (torch.cat([*part]).to(device) for part in zip(*indices, strict=True))
        order = targets.cu_targets[image_of] + numbers
        return cls(
            boxes=targets.boxes[order],
            labels=targets.labels[order],
            image_of=image_of,
            matches=queries.expand(num_sets, -1),
        )

    def overlapping(self, boxes: Tensor) -> "MatchedPairs":
        """Leaves out pairs whose boxes (A, B, Q, 4) do not overlap: their match becomes -1."""
        return replace(self, matches=self.matches.where(self.iou_with(boxes) > 0, -1))

    def repeated(self, matches: Tensor) -> "MatchedPairs":
        """Takes each target once more for each group of queries.

        Args:
            matches: (A, G, T) of G groups.

        Returns:
            Of G * T targets, group after group.
        """
        groups = matches.shape[1]
        return replace(
            self,
            boxes=self.boxes.repeat(groups, 1),
            labels=self.labels.repeat(groups),
            image_of=self.image_of.repeat(groups),
            matches=matches.flatten(1),
        )

    def places(self, num_queries: int) -> Tensor:
        """(A, T) rows of predictions (B * Q, ...), some row where there is no match."""
        return self.image_of * num_queries + self.matches.clamp(min=0)

    def logits_at(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Takes the logit of each target's class at its query.

        Args:
            logits: (A, B, Q, C).

        Returns:
            (A, T) in float32 or wider, and (A, T) bool: whether there is such a logit. It is 0
            where there is none.
        """
        classes = logits.shape[-1]
        exists = (self.labels >= 0) & (self.labels < classes) & (self.matches >= 0)
        index = self.places(logits.shape[2]) * classes + self.labels.clamp(0, classes - 1)
        found = widen(logits.flatten(1).gather(1, index))
        return found.masked_fill(~exists, 0.0), exists

    def iou_with(self, boxes: Tensor) -> Tensor:
        """(A, T) intersection over union with boxes (A, B, Q, 4), without a gradient."""
        with torch.no_grad():
            index = self.places(boxes.shape[2])[..., None].expand(-1, -1, 4)
            predicted = widen(boxes.flatten(1, 2).gather(1, index))
            wanted = cxcywh_to_xyxy(self.boxes.to(predicted.dtype))
            return iou(cxcywh_to_xyxy(predicted), wanted)

    def box_losses(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """L1 and 1 - GIoU of boxes (A, B, Q, 4), summed over the pairs: (A,) each."""
        return box_losses(boxes, self.boxes, self.image_of, self.matches)
