"""Slices of queries are matched as if each were alone."""

import pytest
import torch

from vlp_fast import HungarianMatcher, ops

LAYERS, IMAGES, QUERIES = 2, 3, 11


def problem(counts: tuple[int, ...] = (2, 0, 4)) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(3)
    shape = LAYERS, IMAGES, QUERIES
    logits, kinds = (torch.randn(*shape, n, generator=g) for n in (4, 3))
    boxes = torch.rand(*shape, 4, generator=g) * 0.5 + 0.2
    targets = ops.make_targets(
        [
            (
                torch.rand(n, 4, generator=g) * 0.4 + 0.2,
                torch.randint(3, (n,), generator=g),
                torch.randint(-1, 2, (n,), generator=g),
            )
            for n in counts
        ]
    )
    return logits, boxes, kinds, targets


@pytest.mark.parametrize("with_attributes", [False, True])
@pytest.mark.parametrize(
    "slices", [[(2, 5), (5, 8), (8, 11)], [(0, 11)], [(3, 4), (0, 7), (9, 11)]]
)
def test_each_is_matched_by_itself(slices: list[tuple[int, int]], with_attributes: bool) -> None:
    logits, boxes, kinds, targets = problem()
    attributes = kinds if with_attributes else None
    matcher = HungarianMatcher(1, 5, 2)
    found = matcher.match_slices(logits, boxes, attributes, targets, slices)
    assert (found.shape, found.dtype) == ((LAYERS, len(slices), 6), torch.int64)
    for number, (first, end) in enumerate(slices):
        alone = matcher.match(
            logits[:, :, first:end],
            boxes[:, :, first:end],
            None if attributes is None else attributes[:, :, first:end],
            targets,
        )
        assert torch.equal(found[:, number], torch.where(alone >= 0, alone + first, alone))


def test_a_cost_that_is_added_is_sliced_too() -> None:
    logits, boxes, _, targets = problem()
    extra = 4 * torch.rand(LAYERS, 6, QUERIES, generator=torch.Generator().manual_seed(4))
    slices, matcher = [(0, 4), (4, 8), (1, 11)], HungarianMatcher(1, 5, 2)
    found = matcher.match_slices(logits, boxes, None, targets, slices, extra_cost=extra)
    for number, (first, end) in enumerate(slices):
        part = slice(first, end)
        given = logits[:, :, part], boxes[:, :, part], None, targets
        alone = matcher.match(*given, extra_cost=extra[..., part])
        assert torch.equal(found[:, number], torch.where(alone >= 0, alone + first, alone))
    assert not torch.equal(found, matcher.match_slices(logits, boxes, None, targets, slices))


def test_pairs_of_slices_follow_one_another() -> None:
    logits, boxes, _, targets = problem(counts=(2, 0, 5))
    images = range(IMAGES)
    parts = targets.boxes.split(targets.counts), targets.labels.split(targets.counts)
    annotations = [{"boxes": parts[0][i], "labels": parts[1][i]} for i in images]
    matcher, slices = HungarianMatcher(1, 5, 2), [(7, 11), (0, 7)]  # fewer queries than targets
    found = matcher(outputs_of(logits[0], boxes[0]), annotations, slices=slices)
    each = [
        matcher(outputs_of(logits[0][:, first:end], boxes[0][:, first:end]), annotations)
        for first, end in slices
    ]
    for image, (queries, numbers) in enumerate(found):
        (one, of_one), (another, of_another) = (pairs[image] for pairs in each)
        assert queries.tolist() == [*(one + 7).tolist(), *another.tolist()]
        assert numbers.tolist() == [*of_one.tolist(), *of_another.tolist()]


def outputs_of(logits: torch.Tensor, boxes: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"pred_logits": logits, "pred_boxes": boxes}


def test_what_is_not_finite_is_told_once_for_all_slices() -> None:
    logits, boxes, _, targets = problem()
    boxes[1, 2, 9] = torch.nan
    with pytest.warns(RuntimeWarning, match="not finite") as told:
        HungarianMatcher().match_slices(logits, boxes, None, targets, [(0, 5), (5, 11)])
    assert len(told) == 1


def test_a_cost_of_other_queries_is_named() -> None:
    logits, boxes, _, targets = problem()
    with pytest.raises(ValueError, match=r"extra_cost \(2, 6, 9\), expected \(A, T, 11\)"):
        HungarianMatcher().match_slices(
            logits, boxes, None, targets, [(0, 3)], extra_cost=torch.zeros(2, 6, 9)
        )


def test_groups_of_one_length_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, boxes, _, targets = problem()
    calls, match = [], ops.match

    def counted(*args: object, **options: object) -> object:
        calls.append(1)
        return match(*args, **options)

    monkeypatch.setattr(ops, "match", counted)
    HungarianMatcher().match_slices(logits, boxes, None, targets, [(0, 3), (3, 6), (6, 9), (9, 11)])
    assert len(calls) == 2


@pytest.mark.parametrize("wrong", [(-1, 3), (4, 4), (8, 12)])
def test_a_slice_that_cannot_be_is_named(wrong: tuple[int, int]) -> None:
    logits, boxes, _, targets = problem()
    with pytest.raises(ValueError, match=rf"slice \({wrong[0]}, {wrong[1]}\) of 11 queries"):
        HungarianMatcher().match_slices(logits, boxes, None, targets, [(0, 3), wrong])


def test_no_slices_are_told() -> None:
    logits, boxes, _, targets = problem()
    with pytest.raises(ValueError, match="received no slices"):
        HungarianMatcher().match_slices(logits, boxes, None, targets, [])
