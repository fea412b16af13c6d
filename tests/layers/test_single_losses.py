"""Losses one by one: equal to those of all layers at once, and a subclass's own in their place."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vlp_fast import HungarianMatcher, SetCriterion, ops

CLASSES, QUERIES = 3, 6
NAMES = ["labels", "boxes", "cardinality", "attributes"]


def layer(seed: int, images: int = 3) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(images, QUERIES, *shape, generator=g, dtype=torch.float64)

    return {
        "pred_logits": draw(CLASSES + 1).requires_grad_(),
        "pred_boxes": draw(4).sigmoid().requires_grad_(),
        "pred_attributes": draw(3).requires_grad_(),
        "pred_masks": draw(4, 4).requires_grad_(),
    }


def outputs_of(layers: int = 3) -> dict[str, Any]:
    first, *others = (layer(seed) for seed in range(layers))
    return {**first, "aux_outputs": others}


def targets_of(counts: tuple[int, ...] = (2, 0, 8)) -> list[dict[str, Tensor]]:
    """More than queries, too."""
    g = torch.Generator().manual_seed(7)
    return [
        {
            "labels": torch.randint(CLASSES, (n,), generator=g),
            "boxes": torch.rand(n, 4, generator=g) * 0.4 + 0.2,
            "attributes": torch.randint(-1, 2, (n,), generator=g),
            "masks": torch.rand(n, 4, 4, generator=g).round(),
        }
        for n in counts
    ]


def criterion_of(kind: type[SetCriterion] = SetCriterion, losses: Any = NAMES) -> SetCriterion:
    return kind(CLASSES, HungarianMatcher(1, 5, 2), {}, 0.1, losses).double()


def quiet(criterion: SetCriterion, outputs: Any, targets: Any) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: dict[str, Tensor] = criterion(outputs, targets)
    return found


def gradients(losses: dict[str, Tensor], outputs: dict[str, Any]) -> list[Tensor]:
    total = torch.stack([v for k, v in sorted(losses.items()) if v.requires_grad]).sum()
    leaves = [x for one in (outputs, *outputs["aux_outputs"]) for x in one.values()]
    leaves = [x for x in leaves if isinstance(x, Tensor)]
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    return [torch.zeros(()) if g is None else g for g in found]


class Through(SetCriterion):
    """Overrides all, and asks its base: layer by layer."""

    def loss_labels(self, *args: Any, **options: Any) -> dict[str, Tensor]:
        return super().loss_labels(*args, **options)

    def loss_boxes(self, *args: Any) -> dict[str, Tensor]:
        return super().loss_boxes(*args)

    def loss_cardinality(self, *args: Any) -> dict[str, Tensor]:
        return super().loss_cardinality(*args)

    def loss_attributes(self, *args: Any) -> dict[str, Tensor]:
        return super().loss_attributes(*args)


@pytest.mark.parametrize("counts", [(2, 0, 8), (0, 0, 0), (1, 1, 1)])
@pytest.mark.parametrize("is_packed", [False, True])
def test_one_by_one_they_are_those_of_all_layers(counts: Any, is_packed: bool) -> None:
    outputs, targets = outputs_of(), targets_of(counts)
    given: Any = ops.make_targets(targets) if is_packed else targets
    plain = quiet(criterion_of(), outputs, given)
    single = quiet(criterion_of(Through), outputs, given)
    assert plain.keys() == single.keys()
    for name, value in plain.items():
        torch.testing.assert_close(single[name], value, msg=name, check_dtype=False)
    for one, other in zip(gradients(plain, outputs), gradients(single, outputs), strict=True):
        torch.testing.assert_close(one, other)


class Focal(SetCriterion):
    """As people change DETR's: another class loss, and masks besides."""

    calls: int = 0

    def loss_labels(
        self, outputs: Any, targets: Any, indices: Any, num_boxes: Any, log: bool = True
    ) -> dict[str, Tensor]:
        wanted = torch.zeros_like(outputs["pred_logits"])
        for image, (queries, numbers) in enumerate(indices):
            wanted[image, queries, targets[image]["labels"][numbers]] = 1
        loss = F.binary_cross_entropy_with_logits(outputs["pred_logits"], wanted, reduction="sum")
        return {"loss_ce": loss / num_boxes} | ({"seen": loss.detach()} if log else {})

    def loss_masks(
        self, outputs: Any, targets: Any, indices: Any, num_boxes: Any
    ) -> dict[str, Tensor]:
        self.calls += 1
        parts = [
            (outputs["pred_masks"][image, queries] - targets[image]["masks"][numbers]).abs().sum()
            for image, (queries, numbers) in enumerate(indices)
        ]
        return {"loss_mask": torch.stack(parts).sum() / num_boxes}


def test_a_subclass_scores_what_it_overrides_and_adds() -> None:
    """By hand, pair by pair, at the queries that SciPy's matching of each layer finds."""
    outputs, targets = outputs_of(), targets_of()
    criterion = criterion_of(Focal, ["labels", "boxes", "masks"])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*pred_masks")  # which is scored
        losses = criterion(outputs, targets)
    plain = quiet(criterion_of(losses=["boxes"]), outputs, targets)
    endings = ["_0", "_1", ""]
    assert losses.keys() == {
        *(f"{name}{end}" for name in ("loss_ce", "loss_bbox", "loss_giou") for end in endings),
        "loss_mask",
        "seen",
    }
    assert criterion.calls == 1
    expected = {}
    for end, one in zip(endings, (*outputs["aux_outputs"], outputs), strict=True):
        total = one["pred_logits"].new_zeros(())
        for image, (queries, numbers) in enumerate(criterion.matcher(one, targets)):
            pairs = dict(zip(queries.tolist(), numbers.tolist(), strict=True))
            for query in range(QUERIES):
                label = targets[image]["labels"][pairs[query]] if query in pairs else -1
                for kind, logit in enumerate(one["pred_logits"][image, query]):
                    total = total + F.softplus(-logit if kind == label else logit)
        expected[f"loss_ce{end}"] = total / 10
        torch.testing.assert_close(losses[f"loss_ce{end}"], expected[f"loss_ce{end}"])
        torch.testing.assert_close(losses[f"loss_bbox{end}"], plain[f"loss_bbox{end}"])
    found = gradients({name: losses[name] for name in expected}, outputs)
    for one, other in zip(found, gradients(expected, outputs), strict=True):
        torch.testing.assert_close(one, other)


def test_sums_are_divided_by_one_box_at_least() -> None:
    losses = quiet(criterion_of(Focal, ["labels", "masks"]), outputs_of(1), targets_of((0, 0, 0)))
    assert losses["loss_mask"] == 0
    assert losses["loss_ce"] == losses["seen"]


def test_a_loss_without_a_method_is_named() -> None:
    with pytest.raises(ValueError, match=r"loss 'masks', expected some of .* method loss_masks"):
        criterion_of(losses=["labels", "masks"])
