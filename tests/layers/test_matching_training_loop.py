"""`HungarianMatcher` and `SetCriterion` in DETR's own loop, copied, cast, compiled, on a GPU."""

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from vlp_fast import HungarianMatcher, SetCriterion

CLASSES, QUERIES, LAYERS = 5, 7, 3
ONE_LAYER = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}
WEIGHTS = ONE_LAYER | {f"{k}_{i}": w for i in range(LAYERS - 1) for k, w in ONE_LAYER.items()}
COUNTS = [3, 0, QUERIES + 2]


def make_criterion(*losses: str, eos_coef: float = 0.1) -> SetCriterion:
    chosen = losses or ("labels", "boxes", "cardinality")
    return SetCriterion(CLASSES, HungarianMatcher(1, 5, 2), WEIGHTS, eos_coef, chosen)


def make_outputs(
    images: int = 3, *, dtype: torch.dtype = torch.float32, device: str = "cpu", attributes: int = 0
) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(0)

    def layer() -> dict[str, Any]:
        drawn = {
            "pred_logits": torch.randn(images, QUERIES, CLASSES + 1, generator=draw),
            "pred_boxes": 0.2 + 0.4 * torch.rand(images, QUERIES, 4, generator=draw),
        }
        if attributes:
            shape = (images, QUERIES, attributes + 1)
            drawn["pred_attributes"] = torch.randn(shape, generator=draw)
        return {k: v.to(device, dtype).requires_grad_() for k, v in drawn.items()}

    return {**layer(), "aux_outputs": [layer() for _ in range(LAYERS - 1)]}


def make_targets(counts: list[int], *, attributes: int = 0) -> list[dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    targets = [
        {
            "labels": torch.randint(CLASSES, (n,), generator=draw),
            "boxes": 0.2 + 0.4 * torch.rand(n, 4, generator=draw),
        }
        for n in counts
    ]
    for target in targets if attributes else []:
        shape = target["labels"].shape
        target["attributes"] = torch.randint(-1, attributes, shape, generator=draw)
    return targets


def leaves(outputs: dict[str, Any]) -> list[Tensor]:
    layers = [*outputs["aux_outputs"], outputs]
    return [layer[name] for layer in layers for name in layer if name.startswith("pred")]


def weighted(losses: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    return torch.stack([losses[k] * weights[k] for k in losses if k in weights]).sum()


def assert_equal_losses(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)


def test_names_are_detrs() -> None:
    found = make_criterion()(make_outputs(), make_targets(COUNTS))
    of_a_layer = ("loss_ce", "loss_bbox", "loss_giou", "cardinality_error")
    suffixed = {f"{name}{suffix}" for name in of_a_layer for suffix in ("", "_0", "_1")}
    assert set(found) == {*suffixed, "class_error"}
    assert set(WEIGHTS) < set(found)
    for name in ("labels", "boxes", "cardinality"):
        part = make_criterion(name)(make_outputs(), make_targets(COUNTS))
        assert_equal_losses(part, {key: found[key] for key in part})
    single = {k: v for k, v in make_outputs().items() if k != "aux_outputs"}
    assert set(make_criterion()(single, make_targets(COUNTS))) == {*of_a_layer, "class_error"}


def test_suffixes_number_the_layers_from_the_first() -> None:
    outputs, targets = make_outputs(), make_targets(COUNTS)
    found = make_criterion()(outputs, targets)
    for number, layer in enumerate(outputs["aux_outputs"]):
        alone = make_criterion()(layer, targets)
        for name in ("loss_ce", "loss_bbox", "loss_giou", "cardinality_error"):
            torch.testing.assert_close(found[f"{name}_{number}"], alone[name])


def test_one_step_of_the_loop() -> None:
    """The total, its backward pass, and the log: losses stacked over processes, scaled or not."""
    criterion, outputs = make_criterion(), make_outputs()
    criterion.train()
    losses = criterion(outputs, make_targets(COUNTS))
    total = sum(losses[k] * criterion.weight_dict[k] for k in losses if k in criterion.weight_dict)
    total.backward()
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves(outputs))
    with torch.no_grad():
        log = torch.stack([losses[name] for name in sorted(losses)])
    assert log.shape == (len(losses),)
    assert log.isfinite().all()
    assert not any(losses[name].requires_grad for name in losses if "error" in name)


def test_a_loop_learns_the_targets() -> None:
    targets = make_targets([3, 0, QUERIES])
    logits, raw = torch.zeros(3, QUERIES, CLASSES + 1), torch.zeros(3, QUERIES, 4)
    raw += torch.linspace(-1, 1, QUERIES)[:, None]
    optimizer = torch.optim.Adam([logits.requires_grad_(), raw.requires_grad_()], lr=0.1)
    criterion = make_criterion()
    for _ in range(150):
        losses = criterion({"pred_logits": logits, "pred_boxes": raw.sigmoid()}, targets)
        optimizer.zero_grad()
        weighted(losses, criterion.weight_dict).backward()
        optimizer.step()
    assert losses["class_error"].item() == losses["cardinality_error"].item() == 0
    assert losses["loss_ce"].item() < 0.05
    assert losses["loss_giou"].item() < 0.1


def test_indices_pick_predictions_and_targets() -> None:
    """The losses follow from `src_logits[idx]`, as subclasses and evaluations of DETR compute."""
    criterion, outputs, targets = make_criterion(), make_outputs(), make_targets(COUNTS)
    indices = criterion.matcher(outputs, targets)
    assert isinstance(indices, list)
    assert [len(i) for i, _ in indices] == [len(j) for _, j in indices] == [3, 0, QUERIES]
    assert all(torch.equal(i, i.sort().values) for i, _ in indices)
    batch = torch.cat([torch.full_like(i, number) for number, (i, _) in enumerate(indices)])
    idx = (batch, torch.cat([i for i, _ in indices]))
    labels = torch.cat([t["labels"][j] for t, (_, j) in zip(targets, indices, strict=True)])
    boxes = torch.cat([t["boxes"][j] for t, (_, j) in zip(targets, indices, strict=True)])
    wanted = torch.full((3, QUERIES), CLASSES)
    wanted[idx] = labels

    found, logits = criterion(outputs, targets), outputs["pred_logits"]
    loss = F.cross_entropy(logits.transpose(1, 2), wanted, criterion.empty_weight)
    torch.testing.assert_close(found["loss_ce"], loss)
    l1 = (outputs["pred_boxes"][idx] - boxes).abs().sum() / sum(COUNTS)
    torch.testing.assert_close(found["loss_bbox"], l1)
    is_wrong = (logits[idx].argmax(-1) != labels).float()
    torch.testing.assert_close(found["class_error"], 100 * is_wrong.mean())


def test_class_error_has_the_outcomes_that_it_can_have() -> None:
    outputs, targets = make_outputs(2), make_targets([2, 2])
    indices = make_criterion().matcher(outputs, targets)
    with torch.no_grad():
        for image, (queries, numbers) in enumerate(indices):
            outputs["pred_logits"][image, queries, targets[image]["labels"][numbers]] += 20
        outputs["pred_logits"][1, :, -1] += 100
    assert make_criterion()(outputs, targets)["class_error"].item() == 50.0
    nothing = make_targets([0, 0])
    assert make_criterion()(outputs, nothing)["class_error"].item() == 100.0


def test_the_state_is_detrs() -> None:
    criterion = make_criterion(eos_coef=0.25)
    state = {"empty_weight": torch.tensor([1.0] * CLASSES + [0.25])}
    assert set(criterion.state_dict()) == set(state)
    assert torch.equal(criterion.state_dict()["empty_weight"], state["empty_weight"])
    assert not list(criterion.load_state_dict(state, strict=True).missing_keys)
    assert not list(criterion.parameters())
    assert (criterion.num_classes, criterion.eos_coef) == (CLASSES, 0.25)
    assert criterion.weight_dict == WEIGHTS
    assert isinstance(criterion.matcher, HungarianMatcher)


COPIES: dict[str, Callable[[SetCriterion], SetCriterion]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda criterion: pickle.loads(pickle.dumps(criterion)),
    "double": lambda criterion: criterion.double(),
    "half": lambda criterion: criterion.half(),
    "bfloat16": lambda criterion: criterion.to(torch.bfloat16),
    "evaluation": lambda criterion: criterion.eval(),
}


@pytest.mark.parametrize("kind", COPIES)
def test_the_module_may_be_copied_and_cast(kind: str) -> None:
    outputs, targets = make_outputs(), make_targets(COUNTS)
    copied, expected = COPIES[kind](make_criterion()), make_criterion()
    expected.empty_weight.copy_(copied.empty_weight)  # half precision rounds 0.1
    assert_equal_losses(copied(outputs, targets), expected(outputs, targets))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("autocast", [False, True], ids=["cast", "autocast"])
def test_half_precision_is_scored_in_float32(dtype: torch.dtype, autocast: bool) -> None:
    rounded, wide = make_outputs(dtype=dtype), make_outputs(dtype=dtype)
    for layer in [*wide["aux_outputs"], wide]:
        layer |= {k: layer[k].detach().float().requires_grad_() for k in layer if k[:4] == "pred"}
    targets = make_targets(COUNTS)
    expected = make_criterion()(wide, targets)
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        found = make_criterion()(rounded, targets)
        assert_equal_losses(found, expected)
        ours = torch.autograd.grad(weighted(found, WEIGHTS), leaves(rounded))
    theirs = torch.autograd.grad(weighted(expected, WEIGHTS), leaves(wide))
    for gradient, other in zip(ours, theirs, strict=True):
        assert gradient.dtype == dtype
        torch.testing.assert_close(gradient, other.to(dtype))


@pytest.fixture
def compiled() -> Iterator[Callable[..., Any]]:
    """Compiles in one graph, or raises."""
    torch.compiler.reset()
    yield lambda module: torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.compiler.reset()


def test_the_criterion_compiles_in_one_graph(compiled: Callable[..., Any]) -> None:
    """The second and third batch have other numbers of targets, which are symbols by then."""
    criterion = make_criterion("labels", "boxes", "cardinality", "attributes")
    fast = compiled(criterion)
    for counts in ([3, 0, 2], [2, 4, 5], [6, 3, QUERIES + 2]):
        targets = make_targets(counts, attributes=3)
        plain, traced = make_outputs(attributes=3), make_outputs(attributes=3)
        expected, found = criterion(plain, targets), fast(traced, targets)
        assert_equal_losses(found, expected)
        weights = WEIGHTS | {"loss_attribute": 3.0, "loss_attribute_0": 4.0, "loss_attribute_1": 5}
        weighted(found, weights).backward()
        weighted(expected, weights).backward()
        for leaf, other in zip(leaves(traced), leaves(plain), strict=True):
            torch.testing.assert_close(leaf.grad, other.grad)


def test_the_matcher_compiles_in_one_graph(compiled: Callable[..., Any]) -> None:
    matcher = HungarianMatcher(1, 5, 2)
    outputs, targets = make_outputs(), make_targets(COUNTS)
    found = compiled(matcher)(outputs, targets)
    for pairs, others in zip(found, matcher(outputs, targets), strict=True):
        assert torch.equal(pairs[0], others[0])
        assert torch.equal(pairs[1], others[1])


def test_the_default_device_is_left_alone() -> None:
    outputs, targets = make_outputs(), make_targets(COUNTS)
    criterion = make_criterion()
    expected = criterion(outputs, targets)
    with torch.device("meta"):  # stands for a GPU, which users make the default
        found = criterion(outputs, targets)
        indices = criterion.matcher(outputs, targets)
    assert_equal_losses(found, expected)
    assert all(one.device.type == "cpu" for pairs in indices for one in pairs)


class ToHost(TorchDispatchMode):
    """Names of the operations that turn tensors of a GPU into tensors of the host."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        came, went = (
            {
                one.device.type
                for one in torch.utils._pytree.tree_leaves(tree)
                if torch.is_tensor(one)
            }
            for tree in ((args, kwargs), out)
        )
        if "cuda" in came and "cpu" in went:
            self.names.append(str(func))
        return out


def test_nothing_comes_back_from_the_gpu() -> None:
    """On a GPU that is faked, with annotations on the host: no value is read, none is copied."""
    with FakeTensorMode(), ToHost() as moved:
        criterion = make_criterion("labels", "boxes", "cardinality", "attributes").to("cuda")
        outputs = make_outputs(device="cuda", attributes=3)
        targets = make_targets(COUNTS, attributes=3)
        losses = criterion(outputs, targets)
        indices = criterion.matcher(outputs, targets)
        assert {loss.device.type for loss in losses.values()} == {"cuda"}
        assert {one.device.type for pairs in indices for one in pairs} == {"cuda"}
        assert not moved.names
        losses["loss_ce"].detach().cpu()
        assert moved.names  # this mode sees what it is there for


def test_no_value_is_read_on_the_way_back() -> None:
    with FakeTensorMode():
        criterion = make_criterion("labels", "boxes", "cardinality", "attributes")
        outputs = make_outputs(attributes=3)
        losses = criterion(outputs, make_targets(COUNTS, attributes=3))
        total = torch.stack([losses[name] for name in losses if name.startswith("loss")]).sum()
        found = torch.autograd.grad(total, leaves(outputs))
        shapes = [one.shape for one in found]
    assert shapes == [one.shape for one in leaves(outputs)]
