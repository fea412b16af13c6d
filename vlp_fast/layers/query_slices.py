"""Slices of the queries matched each by itself: groups, and what stands beside denoising queries.

Shape suffixes: A layers, B images, Q queries, T targets, G slices.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Slices = Sequence[tuple[int, int]]
"""First query of each slice, and the one behind its last; host integers."""
Match = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]
"""(A, B, Q, ...) logits, boxes and perhaps attributes, perhaps a cost (A, T, Q) that is added, to
(A, T) queries, -1 for none."""


def match_in_slices(
    match: Match,
    logits: Tensor,
    boxes: Tensor,
    attributes: Tensor | None,
    slices: Slices,
    *,
    extra_cost: Tensor | None = None,
) -> Tensor:
    """Matches slices of the queries, each with all targets, as if it were alone.

    Slices of one length are matched in one call, all layers of them.

    Args:
        match: what matches the queries of layers.
        logits: (A, B, Q, ...) as `boxes` and `attributes`, of all layers.
        boxes: of the same.
        attributes: of the same, or None.
        slices: G of them; they may overlap.
        extra_cost: (A, T, Q) of all queries, or None.

    Returns:
        (A, G, T) int64, numbers among all Q queries, -1 for targets left over.

    Raises:
        ValueError: for no slices, or one that is empty or reaches beyond the queries; for an
            `extra_cost` of other queries.
    """
    _check(slices, boxes.shape[2])
    if extra_cost is not None and extra_cost.shape[2:] != boxes.shape[2:3]:
        raise ValueError(
            f"match_slices: received extra_cost {tuple(extra_cost.shape)}, expected (A, T, "
            f"{boxes.shape[2]}): layers, targets, all queries"
        )
    found: dict[int, Tensor] = {}
    for length in {end - first: None for first, end in slices}:
        places = [place for place, (first, end) in enumerate(slices) if end - first == length]
        parts = [slice(*slices[place]) for place in places]
        matches = match(
            _side_by_side(logits, parts),
            _side_by_side(boxes, parts),
            None if attributes is None else _side_by_side(attributes, parts),
            None if extra_cost is None else _side_by_side(extra_cost, parts),
        )
        each = matches.view(len(places), boxes.shape[0], -1)
        for place, one in zip(places, each, strict=True):
            found[place] = torch.where(one >= 0, one + slices[place][0], one)
    return torch.stack([found[place] for place in range(len(slices))], dim=1)


def _check(slices: Slices, queries: int) -> None:
    if not slices:
        raise ValueError("match_slices: received no slices, expected one at least")
    for first, end in slices:
        if not 0 <= first < end <= queries:
            raise ValueError(
                f"match_slices: received the slice ({first}, {end}) of {queries} queries, "
                f"expected 0 <= first < end <= {queries}"
            )


def _side_by_side(values: Tensor, parts: Sequence[slice]) -> Tensor:
    """Slices of the queries of (A, B, Q, ...) or (A, T, Q) as further layers."""
    return torch.cat([values[:, :, part] for part in parts])
