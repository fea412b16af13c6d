"""Matching on a real GPU: the CPU's answers, without a wait, and captured by graphs."""

from collections.abc import Callable

import pytest
import torch
from detr_cost import assert_matched, make_problem
from gpu import in_graph, no_wait
from torch import Tensor

import vlp_fast
from vlp_fast import ops

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int32])
@pytest.mark.parametrize("shape", [(40, 20, 100), (40, 100, 20), (3, 30, 1500), (2, 300, 300)])
def test_assignment_is_the_cpus(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    cost = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 1000).to(dtype)
    for values in (cost, (cost / 250).round()):
        expected = ops.linear_sum_assignment(values)
        on_device = values.cuda()
        with no_wait():
            found = ops.linear_sum_assignment(on_device)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one.cpu(), other)


def test_ragged_batches_and_bad_problems() -> None:
    cost = torch.rand(5, 30, 40, generator=torch.Generator().manual_seed(1))
    heights = torch.tensor([30, 0, 7, 12, 1])
    expected = ops.linear_sum_assignment(cost, num_rows=heights)
    rows, columns = ops.linear_sum_assignment(cost.cuda(), num_rows=heights.cuda())
    assert torch.equal(rows.cpu(), expected[0])
    assert torch.equal(columns.cpu(), expected[1])
    cost[2, 3, 4] = float("nan")
    columns = ops.linear_sum_assignment(cost.cuda(), num_rows=heights.cuda())[1].cpu()
    assert (columns[2] == -1).all()
    assert torch.equal(columns[3], expected[1][3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "focal"])
def test_match_is_optimal(kind: str, dtype: torch.dtype) -> None:
    problem = make_problem((3, 0, 9, 1, 12), layers=2, queries=10, seed=1)
    logits, boxes, attributes = (problem[i].to(dtype) for i in (0, 1, 3))
    targets = ops.make_targets(problem[2]).to("cuda")
    inputs = [x.cuda() for x in (logits, boxes, attributes)]
    with no_wait():
        found = ops.match(*inputs[:2], targets, attribute_logits=inputs[2], class_cost=kind)
    found = tuple(x.cpu() for x in found)
    assert_matched(found, (logits, boxes, problem[2], attributes), {"kind": kind})


def test_costs_without_room_in_shared_memory() -> None:
    problem = make_problem((300, 2), layers=1, queries=310, seed=2)
    targets = ops.make_targets(problem[2])
    found, _ = ops.match(problem[0].cuda(), problem[1].cuda(), targets.to("cuda"))
    expected, _ = ops.match(problem[0], problem[1], targets)
    assert (found.cpu() == expected).float().mean() > 0.98  # near-ties round differently


def test_what_is_not_finite_is_flagged_on_the_device() -> None:
    logits, boxes, images, _ = make_problem((3, 2), layers=2)
    logits[0, 1, 2] = float("nan")
    targets = ops.make_targets(images).to("cuda")
    on_device = logits.cuda(), boxes.cuda()
    with no_wait():
        _, non_finite = ops.match(*on_device, targets)
    assert non_finite.tolist() == [[False, True], [False, False]]


def replayed(run: Callable[[], Tensor]) -> Tensor:
    """The result of `run` from the replay of a captured graph."""
    graph, out = in_graph(run)
    out.fill_(-5)
    graph.replay()
    return out


def test_a_graph_captures_it() -> None:
    cost = torch.rand(9, 20, 50).cuda()
    expected = ops.linear_sum_assignment(cost)[1]
    assert torch.equal(replayed(lambda: ops.linear_sum_assignment(cost)[1]), expected)
    problem = make_problem((3, 0, 4), layers=3)
    logits, boxes = problem[0].cuda(), problem[1].cuda()
    targets = ops.make_targets(problem[2]).to("cuda")
    matches, _ = ops.match(logits, boxes, targets)
    assert torch.equal(replayed(lambda: ops.match(logits, boxes, targets)[0]), matches)


def test_a_training_step_never_waits() -> None:
    """DETR's criterion forward and backward, annotations on the device, under sync_debug error."""
    matcher = vlp_fast.HungarianMatcher(1, 5, 2)
    losses = ["labels", "boxes", "cardinality"]
    criterion = vlp_fast.SetCriterion(4, matcher, {}, 0.1, losses).cuda()
    logits, boxes, images, _ = make_problem((3, 0, 4), layers=3)
    leaves = [x.cuda().requires_grad_() for x in (logits, boxes)]
    layers = [{"pred_logits": a, "pred_boxes": b} for a, b in zip(*leaves, strict=True)]
    outputs = {**layers[-1], "aux_outputs": layers[:-1]}
    targets = [{"boxes": b.cuda(), "labels": n.cuda()} for b, n, _ in images]
    criterion(outputs, targets)  # the first call may load kernels
    with no_wait():
        found = criterion(outputs, targets)
        total = torch.stack([v for k, v in found.items() if k.startswith("loss")]).sum()
        total.backward()
    on_host = {k: v.cpu() for k, v in found.items()}
    cpu_layers = [{k: v.detach().cpu() for k, v in layer.items()} for layer in layers]
    expected = criterion.cpu()(
        {**cpu_layers[-1], "aux_outputs": cpu_layers[:-1]},
        [{k: v.cpu() for k, v in t.items()} for t in targets],
    )
    for name, value in expected.items():
        torch.testing.assert_close(on_host[name], value, rtol=1e-4, atol=1e-5)


def test_a_hundred_target_counts_compile_nothing_new() -> None:
    """Different numbers of targets are the same kernel: nothing is compiled, nothing waits."""
    problems = [make_problem((n % 17, n % 5), layers=2, seed=n) for n in range(100)]
    inputs = [(p[0].cuda(), p[1].cuda(), ops.make_targets(p[2]).to("cuda")) for p in problems]
    torch.cuda.synchronize()
    with no_wait():
        found = [ops.match(*one)[0] for one in inputs]
    for one, (logits, boxes, images, _) in zip(found, problems, strict=True):
        assert torch.equal(one.cpu(), ops.match(logits, boxes, ops.make_targets(images))[0])
