"""Matching on every backend against DETR's cost, one pair at a time, and SciPy for each image."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from detr_cost import assert_matched, make_problem
from torch import Tensor

from vlp_fast import native, ops
from vlp_fast.ops import matching

on_gpu_source = pytest.mark.xdist_group("cuda_on_cpu")


def match_on_gpu_source(module: ModuleType) -> Callable[..., tuple[Tensor, Tensor]]:
    """`ops.match` through the backend `cuda`, its kernels run on the CPU."""

    def run(*args: object, **options: object) -> tuple[Tensor, Tensor]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(native, "required", lambda: module)
            patch.setitem(matching._match.backends, "cuda", matching._on_device)
            with ops.use("cuda"):
                return ops.match(*args, **options)

    return run


def match_on(backend: str) -> Callable[..., tuple[Tensor, Tensor]]:
    def run(*args: object, **options: object) -> tuple[Tensor, Tensor]:
        with ops.use(backend):
            return ops.match(*args, **options)

    return run


@pytest.fixture(params=["reference", "cpp"])
def match(request: pytest.FixtureRequest) -> Callable[..., tuple[Tensor, Tensor]]:
    """`ops.match` on each backend of the CPU."""
    return match_on(request.param)


COUNTS = [(3, 0, 5, 1), (0, 0), (1,), (7, 2), (6,), ()]


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("with_attributes", [False, True])
def test_match_is_scipy_on_detrs_cost_of_each_image(counts, with_attributes, match) -> None:
    problem = make_problem(counts, seed=sum(counts))
    check_match(match, (*problem[:3], problem[3] if with_attributes else None))


@on_gpu_source
@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("with_attributes", [False, True])
def test_match_of_the_gpus_source(counts, with_attributes, cuda_on_cpu) -> None:
    problem = make_problem(counts, seed=sum(counts))
    problem = (*problem[:3], problem[3] if with_attributes else None)
    check_match(match_on_gpu_source(cuda_on_cpu), problem)


def check_match(run, problem) -> None:
    logits, boxes, images, attribute_logits = problem
    targets = ops.make_targets(images)
    assert_matched(run(logits, boxes, targets, attribute_logits=attribute_logits), problem)


KINDS = [
    ("softmax", (0.25, 2.0)),
    ("sigmoid", (0.25, 2.0)),
    ("focal", (0.25, 2.0)),
    ("focal", (0.6, 1.5)),
]
WEIGHTS = [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (2, 3, 0.5, 7)]


@pytest.mark.parametrize(("kind", "focal"), KINDS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_kinds_and_weights_of_the_cost(kind, focal, weights, match) -> None:
    check_options(match, kind, focal, weights)


@on_gpu_source
@pytest.mark.parametrize(("kind", "focal"), KINDS)
def test_kinds_of_the_cost_in_the_gpus_source(kind, focal, cuda_on_cpu) -> None:
    for weights in WEIGHTS:
        check_options(match_on_gpu_source(cuda_on_cpu), kind, focal, weights)


def check_options(run, kind, focal, weights) -> None:
    problem = make_problem((4, 6, 2), layers=2, queries=7, seed=3)
    logits, boxes, images, attribute_logits = problem
    options = {"kind": kind, "weights": weights, "focal": focal}
    found = run(
        logits,
        boxes,
        ops.make_targets(images),
        attribute_logits=attribute_logits,
        class_cost=kind,
        focal_alpha=focal[0],
        focal_gamma=focal[1],
        **dict(
            zip(("cost_class", "cost_bbox", "cost_giou", "cost_attribute"), weights, strict=True)
        ),
    )
    assert_matched(found, problem, options, exact=weights[1] + weights[2] > 0)


def test_more_targets_than_queries_leaves_some_over(match) -> None:
    logits, boxes, images, _ = make_problem((9, 2), queries=4)
    matches, _ = match(logits, boxes, ops.make_targets(images))
    for layer in matches:
        assert sorted(layer[:9].tolist()) == [-1] * 5 + [0, 1, 2, 3]
        assert (layer[9:] >= 0).all()


def broken_problem(value: float):
    """What is broken: queries 0 and 1 of (0, 0), 3 of (1, 1), 4 of (0, 1)."""
    logits, boxes, images, attribute_logits = make_problem((3, 2, 0))
    logits[0, 0, :2] = value
    boxes[1, 1, 3] = value
    attribute_logits[0, 1, 4, 0] = float("nan")
    logits[1, 2] = value  # an image without targets has no cost
    return logits, boxes, images, attribute_logits


BROKEN = [float("nan"), float("inf"), -float("inf")]


@pytest.mark.parametrize("value", BROKEN)
def test_broken_predictions_are_the_last_choice(value, match) -> None:
    check_broken(match, value)


@on_gpu_source
@pytest.mark.parametrize("value", BROKEN)
def test_broken_predictions_in_the_gpus_source(value, cuda_on_cpu) -> None:
    check_broken(match_on_gpu_source(cuda_on_cpu), value)


def check_broken(run, value) -> None:
    logits, boxes, images, attribute_logits = broken_problem(value)
    images[1][2][:] = 1  # both have an attribute
    targets = ops.make_targets(images)
    matches, non_finite = run(logits, boxes, targets, attribute_logits=attribute_logits)
    assert (matches >= 0).all()
    assert non_finite.tolist() == [[True, True, False], [False, True, False]]
    assert not set(matches[0, :3].tolist()) & {0, 1}
    assert 4 not in matches[0, 3:].tolist()
    assert 3 not in matches[1, 3:].tolist()
    everything, non_finite = run(torch.full_like(logits, value), boxes * value, targets)
    assert all(len(set(row[:3].tolist())) == 3 for row in everything)
    assert non_finite.tolist() == [[True, True, False]] * 2


def test_one_infinite_logit_spoils_the_whole_query(match) -> None:
    logits, boxes, images, _ = make_problem((2,), layers=1, queries=3)
    logits[0, 0, 1, 3] = float("inf")  # a class that no target has
    images[0][1][:] = 0
    matches, non_finite = match(logits, boxes, ops.make_targets(images))
    assert non_finite.all()
    assert sorted(matches[0].tolist()) == [0, 2]
    logits[0, 0, 1, 3] = -float("inf")  # a class that is masked out
    assert not match(logits, boxes, ops.make_targets(images))[1].any()


@pytest.mark.parametrize("kind", ["sigmoid", "focal"])
def test_an_infinite_logit_is_the_last_choice(kind, match) -> None:
    check_infinite(match, kind)


@on_gpu_source
@pytest.mark.parametrize("kind", ["sigmoid", "focal"])
def test_an_infinite_logit_in_the_gpus_source(kind, cuda_on_cpu) -> None:
    check_infinite(match_on_gpu_source(cuda_on_cpu), kind)


def check_infinite(run, kind) -> None:
    logits, boxes, images, _ = make_problem((2,), layers=1, queries=3)
    images[0][1][:] = 0
    logits[0, 0, 1, 0] = float("inf")
    matches, non_finite = run(logits, boxes, ops.make_targets(images), class_cost=kind)
    assert non_finite.all()
    assert sorted(matches[0].tolist()) == [0, 2]


LABELS = [-1, 5, 2**40]


@pytest.mark.parametrize("label", LABELS)
def test_a_label_without_a_logit_is_told(label, match) -> None:
    check_label(match, label)


@on_gpu_source
def test_a_label_without_a_logit_in_the_gpus_source(cuda_on_cpu) -> None:
    for label in LABELS:
        check_label(match_on_gpu_source(cuda_on_cpu), label)


def check_label(run, label) -> None:
    logits, boxes, images, _ = make_problem((3, 2))
    images[1][1][0] = label
    for kind in matching.CLASS_COSTS:
        matches, non_finite = run(logits, boxes, ops.make_targets(images), class_cost=kind)
        assert non_finite.tolist() == [[False, True]] * 2
        assert all(len(set(row[3:].tolist())) == 2 for row in matches)


DEGENERATE = [
    (0.5, 0.5, 0.0, 0.0),
    (0.2, 0.3, -0.4, 0.1),
    (0.1, 0.9, 1e-8, 0.5),
    (3.0, -2.0, 0.1, 9.0),
]


def test_degenerate_boxes_are_finite(match) -> None:
    check_match(match, degenerate_problem())


@on_gpu_source
def test_degenerate_boxes_in_the_gpus_source(cuda_on_cpu) -> None:
    check_match(match_on_gpu_source(cuda_on_cpu), degenerate_problem())


def degenerate_problem():
    logits, boxes, images, _ = make_problem((4, 4), queries=4)
    boxes[:] = torch.tensor(DEGENERATE)
    images[0][0][:] = torch.tensor(DEGENERATE)
    return logits, boxes, images, None


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def layouts(x: Tensor) -> list[Tensor]:
    """The same values: spread out, with another order of dimensions, dense."""
    spread = torch.full((*x.shape[:-1], 2 * x.shape[-1]), float("nan"), dtype=x.dtype)
    spread[..., ::2] = x
    return [spread[..., ::2], x.permute(3, 2, 0, 1).contiguous().permute(2, 3, 1, 0), x]


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_layouts(dtype, match) -> None:
    check_dtype(match, dtype)


@on_gpu_source
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_layouts_in_the_gpus_source(dtype, cuda_on_cpu) -> None:
    check_dtype(match_on_gpu_source(cuda_on_cpu), dtype)


def check_dtype(run, dtype) -> None:
    logits, boxes, images, attribute_logits = make_problem((4, 3), seed=2)
    logits, boxes, attribute_logits = (x.to(dtype) for x in (logits, boxes, attribute_logits))
    targets = ops.make_targets(images)
    for inputs in zip(layouts(logits), layouts(boxes), layouts(attribute_logits), strict=True):
        found = run(*inputs[:2], targets, attribute_logits=inputs[2])
        assert_matched(found, (logits, boxes, images, attribute_logits))
    mixed = run(logits, boxes.double(), targets)
    assert_matched(mixed, (logits, boxes.double(), images, None))


def test_every_half_precision_number_is_read() -> None:
    """The class term of one query and one target, for all finite float16 and bfloat16 logits."""
    target = ops.make_targets([(torch.full((1, 4), 0.5), torch.tensor([0]), torch.tensor([-1]))])
    rival = 0.5
    for dtype in (torch.float16, torch.bfloat16):
        bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
        values = bits.view(dtype)
        values = values[values.isfinite()]
        logits = torch.stack([values, torch.full_like(values, rival)], 1)[:, :, None]
        boxes = torch.full((len(values), 2, 4), 0.5)
        targets = ops.make_targets([(target.boxes, target.labels, target.attributes)] * len(values))
        matches, _ = match_on("cpp")(
            logits[None], boxes[None], targets, class_cost="sigmoid", cost_bbox=0, cost_giou=0
        )
        assert torch.equal(matches[0] == 0, values.float() >= rival)


SHARED_BYTES = [
    (30, 100, 15_816),
    (100, 100, 44_656),
    (100, 300, 131_056),
    (300, 300, 373_456),
]


@on_gpu_source
@pytest.mark.parametrize(("targets", "queries", "expected"), SHARED_BYTES)
def test_shared_memory_of_a_problem(targets, queries, expected, cuda_on_cpu, monkeypatch) -> None:
    """Costs, prices and paths of one problem; 227 KiB is what a block of a Hopper GPU may have."""
    for room, fits in ((expected, True), (expected - 1, False)):
        monkeypatch.setenv("CUDA_ON_CPU_SHARED_BYTES", str(room))
        assert cuda_on_cpu.fits_in_shared(targets, queries, 0) == fits
        assert cuda_on_cpu.fits_in_shared(queries, targets, 0) == fits


@on_gpu_source
def test_costs_without_room_in_shared_memory(cuda_on_cpu, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_ON_CPU_SHARED_BYTES", "900")
    problem = make_problem((9, 0, 2, 6), queries=5)
    logits, boxes, images, _ = problem
    found = match_on_gpu_source(cuda_on_cpu)(logits, boxes, ops.make_targets(images))
    assert_matched(found, (*problem[:3], None))


@on_gpu_source
def test_scratch_memory_is_each_problems_own(cuda_on_cpu, monkeypatch) -> None:
    """No problem has room in shared memory: every cost is written, each to its own place."""
    monkeypatch.setenv("CUDA_ON_CPU_SHARED_BYTES", "1400")
    logits, boxes, images, _ = make_problem((20, 24, 22), queries=24)
    targets = ops.make_targets(images)
    call = matching._Call(
        *(logits, boxes, None, targets.boxes, targets.labels, targets.attributes),
        *(targets.cu_targets, 24, "sigmoid", [1.0, 5.0, 2.0, 1.0, 0.25, 2.0]),
    )
    no_softmax = {"are_probabilities": False, "normaliser": None, "attribute_normaliser": None}
    matches, non_finite = call.empty()
    scratch = torch.full((2, 66, 24), float("nan"))
    inputs = call.inputs() | no_softmax
    cuda_on_cpu.match_cuda(inputs, call.cu_targets, matches, non_finite, 24, scratch)
    assert scratch.isfinite().all()
    assert torch.equal(matches, match_on("cpp")(logits, boxes, targets, class_cost="sigmoid")[0])


@on_gpu_source
def test_too_little_room_is_told(cuda_on_cpu, monkeypatch) -> None:
    """Without scratch memory, or with too low a bound on the targets, nothing is written."""
    logits, boxes, images, _ = make_problem((17,), layers=1)
    targets = ops.make_targets(images)
    call = matching._Call(
        *(logits, boxes, None, targets.boxes, targets.labels, targets.attributes),
        *(targets.cu_targets, 17, "sigmoid", [1.0] * 6),
    )
    no_softmax = {"are_probabilities": False, "normaliser": None, "attribute_normaliser": None}
    predictions = call.inputs() | no_softmax
    matches, non_finite = call.empty()
    monkeypatch.setenv("CUDA_ON_CPU_SHARED_BYTES", "1100")
    with pytest.raises(ValueError, match=r"scratch is None, expected \(A, T, Q\) float32"):
        cuda_on_cpu.match_cuda(predictions, call.cu_targets, matches, non_finite, 17, None)
    cuda_on_cpu.match_cuda(predictions, call.cu_targets, matches, non_finite, 4, None)
    assert (matches == -1).all()
    assert non_finite.tolist() == [[True]]


def test_autocast_costs_as_float32(match) -> None:
    logits, boxes, images, _ = make_problem((4, 3), seed=2)
    logits, boxes = logits.bfloat16(), boxes.bfloat16()
    targets = ops.make_targets(images)
    expected, _ = match(logits.float(), boxes.float(), targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(match(logits, boxes, targets)[0], expected)


def test_match_has_no_gradient(match) -> None:
    logits, boxes, images, _ = make_problem((2,))
    matches, _ = match(logits.requires_grad_(), boxes.requires_grad_(), ops.make_targets(images))
    assert not matches.requires_grad


def test_wrong_input_is_refused() -> None:
    logits, boxes, images, attribute_logits = make_problem((2, 1))
    targets = ops.make_targets(images)
    with pytest.raises(ValueError, match="match: received logits"):
        ops.match(logits, boxes[:, :, :3], targets)
    with pytest.raises(ValueError, match="match: received attribute_logits"):
        ops.match(logits, boxes, targets, attribute_logits=attribute_logits[:1])
    with pytest.raises(ValueError, match="targets of 2 images, expected 1"):
        ops.match(logits[:, :1], boxes[:, :1], targets)
    with pytest.raises(ValueError, match="class_cost 'relu', expected one of"):
        ops.match(logits, boxes, targets, class_cost="relu")
