"""From the scores of all classes to the boxes that are kept, in three ways.

The detector of bottom-up attention suppresses class after class among the same boxes, which no
class moves; a box counts with its best score among the classes that it survives. `loop` does so.
`exact` keeps the same boxes, in less time. Only higher scores of its class suppress a box, so all
pairs of box and class can be judged in one row, from the highest score down. The first pair of a
box that survives has the score it counts with, and once there are boxes enough the rest does not
matter. How boxes overlap is computed once. `best_class` is another rule, of LXMERT's later
features: one suppression by the score of each box's best class.

Shapes: R boxes (R, 4) corners in pixels; scores (R, C + 1) probabilities, class 0 background.

Source: Anderson et al. 2018 and their tools (`tools/generate_tsv.py`): IoU .3, scores from .2 on,
the best ones if these are too few or too many. Here PyTorch's suppression instead of NumPy's, whose
boxes are one pixel larger. `best_class`: the max-NMS proposals of py-bottom-up-attention, whose IoU
goes up from .3 until there are boxes enough.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise

import torch
from torch import Tensor
from torchvision.ops import box_iou, nms

IOU = 0.3
LEAST_SCORE = 0.2
BANDS = (math.inf, LEAST_SCORE, 0.05, 0.01, 0.003, 0.001, 0.0)
"""`exact` sorts pairs band by band, until there are boxes enough."""
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
    """Keep the same boxes as `loop`, judging pairs of box and class once, on the host."""
    host = scores[:, 1:].cpu()
    pairs = chain.from_iterable(_band(host, low, high) for high, low in pairwise(BANDS))
    kept = _first_survivors(pairs, _overlapping(boxes.cpu()), count)
    kept |= dict.fromkeys(range(len(boxes)))  # those that survive no class come last
    return torch.tensor(list(kept)[:count], device=boxes.device)


def best_class(boxes: Tensor, scores: Tensor, *, count: int) -> Tensor:
    """Keep boxes by one suppression on the best class of each: another rule, other boxes."""
    confidence = scores[:, 1:].amax(1)
    for iou in LOOSER:
        kept: Tensor = nms(boxes, confidence, iou)
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


def _overlapping(boxes: Tensor) -> list[int]:
    """Of each box a number whose bits are the boxes that it suppresses, or that suppress it."""
    # float32 as in nms, which compares with a double.
    near = box_iou(boxes, boxes).double() > IOU
    return [sum(1 << other for other in row.nonzero().flatten().tolist()) for row in near]


def _band(scores: Tensor, low: float, high: float) -> list[list[int]]:
    """Pairs of box and class with a score in [low, high), the best first, then the first box.

    Not those of score 0, with which a box counts as much as if it survived nowhere.
    """
    pairs = ((scores >= low) & (scores < high) & (scores > 0)).nonzero()
    order = scores[pairs[:, 0], pairs[:, 1]].sort(descending=True, stable=True).indices
    found: list[list[int]] = pairs[order].tolist()
    return found


def _first_survivors(
    pairs: Iterable[Sequence[int]], overlapping: Sequence[int], count: int
) -> dict[int, None]:
    """The first `count` boxes that survive a class, in the order of their best such score."""
    survivors: defaultdict[int, int] = defaultdict(int)
    kept: dict[int, None] = {}
    for box, of_class in pairs:
        if survivors[of_class] & overlapping[box]:
            continue
        survivors[of_class] |= 1 << box
        kept[box] = None
        if len(kept) == count:
            break
    return kept


def _chosen(confidence: Tensor, count: int) -> Tensor:
    """The best `count`: those from `LEAST_SCORE` on, cut or filled up."""
    return confidence.sort(descending=True, stable=True).indices[:count]
