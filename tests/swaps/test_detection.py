"""Detection losses of transformers beside ours: values, gradients, names; models that use them."""

import copy
import pickle
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_detectors import CLASSES, FAMILIES, LAYERS, annotations, batch, boxes, detector
from torch import Tensor
from transformers.loss import loss_deformable_detr, loss_for_object_detection, loss_rt_detr
from transformers.loss.loss_lw_detr import LwDetrForObjectDetectionLoss

import vlp_fast
from vlp_fast.errors import InputError
from vlp_fast.swaps.detection_sets import num_boxes_of_accelerate
from vlp_fast.swaps.detr_losses import FocalLoss, SoftmaxLoss
from vlp_fast.swaps.lw_detr_loss import GroupedLoss
from vlp_fast.swaps.rt_detr_loss import VarifocalLoss

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
QUERIES, GROUPS = 9, 3
KINDS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "softmax": (loss_for_object_detection.ForObjectDetectionLoss, SoftmaxLoss),
    "focal": (loss_deformable_detr.DeformableDetrForObjectDetectionLoss, FocalLoss),
    "varifocal": (loss_rt_detr.RTDetrForObjectDetectionLoss, VarifocalLoss),
    "groups": (LwDetrForObjectDetectionLoss, GroupedLoss),
}
COUNTS = {
    "some": [3, 1, 2],
    "an image without": [0, 4],
    "none at all": [0, 0],
    "one target": [1],
    "more than queries": [QUERIES + 4, 2],
}
SAMPLE = ("Detr", "DeformableDetr", "RTDetr", "LwDetr")
"""A family of each kind."""
each_kind = pytest.mark.parametrize("kind", KINDS)


def config(kind: str, **options: Any) -> SimpleNamespace:
    """No weight is 1 or another's, so that none can be mistaken for another."""
    settings: dict[str, Any] = {"num_labels": CLASSES, "decoder_layers": LAYERS}
    settings |= {"auxiliary_loss": True, "eos_coefficient": 0.2, "focal_alpha": 0.3}
    settings |= {"class_cost": 1.5, "bbox_cost": 4.0, "giou_cost": 2.5, "group_detr": GROUPS}
    settings |= {"bbox_loss_coefficient": 5.5, "giou_loss_coefficient": 2.2}
    settings |= {"class_loss_coefficient": 1.7, "use_focal_loss": True, "matcher_alpha": 0.3}
    settings |= {"matcher_gamma": 1.8, "matcher_class_cost": 2.1, "matcher_bbox_cost": 4.5}
    settings |= {"matcher_giou_cost": 1.9, "focal_loss_alpha": 0.7, "focal_loss_gamma": 1.6}
    settings |= {"weight_loss_vfl": 1.2, "weight_loss_bbox": 5.1, "weight_loss_giou": 2.3}
    return SimpleNamespace(**{**settings, **options})


def leaves(kind: str, counts: list[int], *, seed: int = 0) -> dict[str, Tensor]:
    """Predictions of all layers and, where a kind has it, of an encoder."""
    draw = torch.Generator().manual_seed(seed)
    images, queries = len(counts), QUERIES * (GROUPS if kind == "groups" else 1)
    classes = CLASSES + (kind == "softmax")
    noisy = queries + (4 * max(counts) if kind == "varifocal" else 0)
    order = (images, LAYERS) if kind == "varifocal" else (LAYERS, images)
    found = {
        "logits": 2 * torch.randn(*order, noisy, classes, generator=draw),
        "boxes": boxes(*order, noisy, draw=draw),
    }
    if kind in ("varifocal", "groups"):
        found["enc_logits"] = 2 * torch.randn(images, queries, classes, generator=draw)
        found["enc_boxes"] = boxes(images, queries, draw=draw)
    return {name: value.requires_grad_() for name, value in found.items()}


def call(loss: Any, kind: str, given: dict[str, Tensor], counts: list[int], cfg: Any) -> Any:
    """As the models of transformers call it."""
    images_first = kind == "varifocal"
    last = [given[name][:, -1] if images_first else given[name][-1] for name in ("logits", "boxes")]
    more: dict[str, Any] = {}
    if kind == "varifocal":
        more = {"enc_topk_logits": given["enc_logits"], "enc_topk_bboxes": given["enc_boxes"]}
        if max(counts):
            more["denoising_meta_values"] = denoising(counts)
    if kind == "groups":
        more = {"enc_outputs_class": given["enc_logits"], "enc_outputs_coord": given["enc_boxes"]}
    layers = (given["logits"], given["boxes"])
    return loss(last[0], annotations(counts), "cpu", last[1], cfg, *layers, **more)


def denoising(counts: list[int]) -> dict[str, Any]:
    """Two groups; in each, positive queries are followed by as many negative ones."""
    longest = max(counts)
    first = [torch.arange(count) for count in counts]
    positive = tuple(torch.cat([one, 2 * longest + one]) for one in first)
    split = [4 * longest, QUERIES]
    return {"dn_positive_idx": positive, "dn_num_group": 2, "dn_num_split": split}


def assert_same(kind: str, counts: list[int], *, seed: int = 0, **options: Any) -> None:
    """Names in their order, values, gradients, and what else is returned."""
    theirs, ours = KINDS[kind]
    given, cfg = leaves(kind, counts, seed=seed), config(kind, **options)
    expected, found = (call(loss, kind, given, counts, cfg) for loss in (theirs, ours()))
    assert list(found[1]) == list(expected[1])
    for name, value in expected[1].items():
        torch.testing.assert_close(found[1][name], value.float(), **CLOSE, msg=name)
    torch.testing.assert_close(found[0], expected[0], **CLOSE)
    gradients = [
        torch.autograd.grad(result[0], list(given.values()), allow_unused=True)
        for result in (expected, found)
    ]
    for name, one, other in zip(given, *gradients, strict=True):
        one, other = (torch.zeros(1) if x is None else x for x in (one, other))
        torch.testing.assert_close(other, one.expand_as(other), **CLOSE, msg=name)
    assert (found[2] is None) == (expected[2] is None)
    for layer, other in zip(found[2] or [], expected[2] or [], strict=True):
        assert all(torch.equal(layer[name], other[name]) for name in other)


@each_kind
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_values_and_gradients(kind: str, counts: list[int]) -> None:
    assert_same(kind, counts)


@each_kind
def test_the_last_layer_alone(kind: str) -> None:
    assert_same(kind, [2, 3], auxiliary_loss=False)


@each_kind
@pytest.mark.parametrize("seed", range(1, 4))
def test_other_draws(kind: str, seed: int) -> None:
    counts = torch.randint(0, QUERIES + 2, (3,), generator=torch.Generator().manual_seed(seed))
    assert_same(kind, counts.tolist(), seed=seed)


def test_options_of_one_kind() -> None:
    assert_same("varifocal", [3, 2], use_focal_loss=False, matcher_class_cost=20.0)
    assert_same("focal", [3, 2], focal_alpha=-1.0)
    assert_same("groups", [3, 2], group_detr=4)  # 27 queries: three of them belong to no group
    assert_same("groups", [3, 2], group_detr=1)


@each_kind
def test_twenty_steps_end_at_the_same_predictions(kind: str) -> None:
    counts, cfg = [3, 1, 0], config(kind)
    theirs, ours = KINDS[kind]
    ends, curves = [], []
    for loss in (theirs, ours()):
        given = leaves(kind, counts, seed=7)
        optimizer = torch.optim.SGD(given.values(), lr=2e-3)
        curve = []
        for _ in range(20):
            total = call(loss, kind, given, counts, cfg)[0]
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            curve.append(total.detach())
        ends.append(given)
        curves.append(torch.stack(curve))
    assert curves[0][-1] < 0.97 * curves[0][0]
    torch.testing.assert_close(curves[1], curves[0], **CLOSE)
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, **CLOSE)


@each_kind
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_computed_in_float32(kind: str, dtype: torch.dtype) -> None:
    """Theirs has no half precision on a CPU: beside it with the same values, widened."""
    counts, cfg = [3, 2], config(kind)
    theirs, ours = KINDS[kind]
    half = {name: x.detach().to(dtype) for name, x in leaves(kind, counts).items()}
    found = call(ours(), kind, half, counts, cfg)
    expected = call(theirs, kind, {n: x.float() for n, x in half.items()}, counts, cfg)
    torch.testing.assert_close(found[0], expected[0], **CLOSE)


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(name, marks=[] if name in SAMPLE else [pytest.mark.exhaustive])
        for name in FAMILIES
    ],
)
def test_a_model_has_the_same_losses_and_gradients_before_and_after(family: str) -> None:
    model = detector(family)
    pixels, labels = batch(family)
    keys, text = list(model.state_dict()), repr(model)
    wanted = [p for p in model.parameters() if p.requires_grad]
    results = []
    for is_ours in (False, True):
        if is_ours:
            report = vlp_fast.accelerate(model)
            assert FAMILIES[family] in report.swapped[""] and FAMILIES[family] in repr(model)
            assert list(model.state_dict()) == keys
        torch.manual_seed(3)  # denoising is drawn
        out = model(pixels, labels=labels)
        results.append((out, torch.autograd.grad(out.loss, wanted, allow_unused=True)))
    (expected, before), (found, after) = results
    assert list(found.loss_dict) == list(expected.loss_dict)
    torch.testing.assert_close(found.loss, expected.loss, **CLOSE)
    scale = max(float(x.abs().max()) for x in before if x is not None)
    for one, other in zip(before, after, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(other / scale, one / scale, **CLOSE)
    report.restore()
    assert repr(model) == text and "_loss_function" not in vars(model)
    torch.manual_seed(3)
    assert torch.equal(model(pixels, labels=labels).loss, expected.loss)


def test_a_copy_and_a_pickle_keep_the_loss() -> None:
    model = detector("Yolos")
    vlp_fast.accelerate(model)
    pixels, labels = batch("Yolos")
    expected = model(pixels, labels=labels).loss
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert isinstance(twin.loss_function, SoftmaxLoss)
        assert torch.equal(twin(pixels, labels=labels).loss, expected)


def test_a_loss_that_has_changed_is_left_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = detector("Yolos")
    theirs = loss_for_object_detection.ImageLoss.loss_boxes

    def changed(self: Any, *args: Any) -> dict[str, Tensor]:
        return {name: 1.01 * loss for name, loss in theirs(self, *args).items()}

    monkeypatch.setattr(loss_for_object_detection.ImageLoss, "loss_boxes", changed)
    with pytest.raises(
        InputError, match=r"differs from the one that is known, in loss_bbox \(trans"
    ):
        vlp_fast.accelerate(model)
    assert "_loss_function" not in vars(model)
    monkeypatch.setattr(
        loss_for_object_detection.ImageLoss, "loss_cardinality", lambda *_: {"more": torch.ones(())}
    )
    assert "has the terms loss_ce" in vlp_fast.accelerate(model, strict=False).left[""]


def test_a_loss_of_ones_own_stays() -> None:
    model = detector("Yolos")
    model.loss_function = own = lambda *_, **__: (torch.zeros(()), {}, None)
    report = vlp_fast.accelerate(model, strict=False)
    assert "of its own" in report.left[""] and model.loss_function is own


def test_what_the_family_has_beside_it_is_left_with_a_reason() -> None:
    model = detector("Yolos")
    for kind, told in {"DFineForObjectDetection": "edges", "ForSegmentation": "masks"}.items():
        model.loss_type = kind
        assert told in vlp_fast.accelerate(model, strict=False).left[""]
    model.loss_type = "ForCausalLM"
    assert not vlp_fast.accelerate(model, strict=False).lines
    model = detector("Yolos", auxiliary_loss=True)  # whose own code fails on it
    assert "decoder_layers" in vlp_fast.accelerate(model, strict=False).left[""]


def test_boxes_are_counted_over_the_processes_of_accelerate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As transformers counts: what `reduce` gives, divided by the processes once more."""
    state = SimpleNamespace(num_processes=2)
    partial_state = type("PartialState", (), {"_shared_state": {}, "__new__": lambda _: state})
    package = SimpleNamespace(
        PartialState=partial_state, utils=SimpleNamespace(reduce=lambda total: total * 5)
    )
    monkeypatch.setitem(sys.modules, "accelerate", package)
    cpu = torch.device("cpu")
    assert num_boxes_of_accelerate(0, cpu) == 1.0 and num_boxes_of_accelerate(4, cpu) == 4.0
    partial_state._shared_state = {"backend": "gloo"}
    assert num_boxes_of_accelerate(4, cpu).tolist() == [10.0]
    assert num_boxes_of_accelerate(0, cpu).tolist() == [1.0]


def test_an_image_without_boxes_may_have_an_empty_list_of_them() -> None:
    """`torch.tensor([])` is (0,), not (0, 4)."""
    theirs, ours = KINDS["focal"]
    given, cfg = leaves("focal", [0, 2]), config("focal")
    labels = annotations([0, 2])
    labels[0]["boxes"] = torch.tensor([])
    layers = (given["logits"], given["boxes"])
    last = (layers[0][-1], labels, "cpu", layers[1][-1], cfg, *layers)
    torch.testing.assert_close(ours()(*last)[0], theirs(*last)[0], **CLOSE)


def test_restore_tells_of_a_loss_that_was_set_meanwhile() -> None:
    model = detector("Yolos")
    text = repr(model)
    report = vlp_fast.accelerate(model)
    model.loss_function = own = lambda *_, **__: (torch.zeros(()), {}, None)
    with pytest.raises(InputError, match="_loss_function of a YolosForObjectDetection has been"):
        report.restore()
    assert model.loss_function is own
    del model._loss_function
    report.restore()
    assert repr(model) == text and "_loss_function" not in vars(model)


def test_a_class_with_a_loss_of_its_own_is_left() -> None:
    model = detector("Yolos")
    own = property(lambda _: lambda *_, **__: (torch.zeros(()), {}, None))
    model.__class__ = type("Own", (type(model),), {"loss_function": own})
    assert "of its own" in vlp_fast.accelerate(model, strict=False).left[""]
