"""From the scores of all classes to the boxes that are kept, in three ways.

The detector of bottom-up attention suppresses class after class among the same boxes, which no
class moves; a box counts with its best score among the classes that it survives. `loop` does so.
`exact` keeps the same boxes, in less time: a box is suppressed by boxes of higher scores only, so
whoever scores below a threshold has no part in what happens above it, and few classes have anybody
there. `best_class` is another rule, of LXMERT's later features: one suppression by the score of
each box's best class.

Shapes: R boxes (R, 4) corners in pixels; scores (R, C + 1) probabilities, class 0 background.

Source: Anderson et al. 2018 and their tools (`tools/generate_tsv.py`): IoU .3, scores from .2 on,
the best ones if these are too few or too many. Here PyTorch's suppression instead of NumPy's, whose
boxes are one pixel larger. `best_class`: the max-NMS proposals of py-bottom-up-attention, whose IoU
goes up from .3 until there are boxes enough.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms

IOU = 0.3
LEAST_SCORE = 0.2
LOWER = 4.0
"""By how much `exact` lowers its threshold where too few boxes score above it."""
LAST = 1e-3
"""Below it nearly every class has somebody: then all take part."""
LOOSER = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def loop(boxes: Tensor, scores: Tensor, *, count: int) -> Tensor:
    """Keep boxes as the original does: one suppression for each class, on the host.

    Args:
        boxes: R.
        scores: of them.
        count: how many to keep, at least and at most; R of fewer.

    Returns:
        (count,) int64 on the device of the boxes, the best first.
    """
    confidence = best_surviving(boxes.cpu(), scores.cpu())
    return _chosen(confidence, count).to(boxes.device)


def loop_on_device(boxes: Tensor, scores: Tensor, *, count: int) -> Tensor:
    """Keep the same boxes with the same loop, where they are: as Detectron2's ports do it."""
    return _chosen(best_surviving(boxes, scores), count)


def exact(boxes: Tensor, scores: Tensor, *, count: int) -> Tensor:
    """Keep the same boxes as `loop`, looking at classes and boxes that can matter, on the host."""
    host_boxes, host_scores = boxes.cpu(), scores.cpu()
    confidence = best_surviving_above(host_boxes, host_scores, count=count)
    return _chosen(confidence, count).to(boxes.device)


def best_class(boxes: Tensor, scores: Tensor, *, count: int) -> Tensor:
    """Keep boxes by one suppression on the best class of each: another rule, other boxes."""
    confidence = scores[:, 1:].amax(1)
    for iou in LOOSER:
        kept = nms(boxes, confidence, iou)
        if len(kept) >= count:
            return kept[:count]
    return _chosen(confidence, count)


def best_surviving(boxes: Tensor, scores: Tensor) -> Tensor:
    """(R,) the best score of each box among the classes that it survives; 0 if it survives none."""
    confidence = scores.new_zeros(len(boxes))
    for of_class in scores[:, 1:].T.contiguous():
        kept = nms(boxes, of_class, IOU)
        confidence[kept] = torch.maximum(confidence[kept], of_class[kept])
    return confidence


def best_surviving_above(boxes: Tensor, scores: Tensor, *, count: int) -> Tensor:
    """What `best_surviving` gives, but 0 for boxes below a threshold that `count` boxes reach."""
    threshold = LEAST_SCORE
    while True:
        confidence = _surviving_from(boxes, scores, threshold)
        if threshold == 0 or int((confidence > 0).sum()) >= count:
            return confidence
        threshold = threshold / LOWER if threshold / LOWER >= LAST else 0.0


def _surviving_from(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """The best scores of at least `threshold` that survive; exact, for no lower score matters."""
    confidence = scores.new_zeros(len(boxes))
    takes_part = scores[:, 1:] >= threshold
    for number in takes_part.any(0).nonzero().flatten().tolist():
        able = takes_part[:, number].nonzero().flatten()
        of_class = scores[able, number + 1]
        kept = nms(boxes[able], of_class, IOU)
        places = able[kept]
        confidence[places] = torch.maximum(confidence[places], of_class[kept])
    return confidence


def _chosen(confidence: Tensor, count: int) -> Tensor:
    """The best `count`: those from `LEAST_SCORE` on, cut or filled up."""
    return confidence.sort(descending=True, stable=True).indices[:count]
