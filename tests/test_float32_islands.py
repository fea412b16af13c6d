"""What computes in float32 under autocast, each beside float64 on the same half-precision input.

The input is such that half precision would be far off: sums beyond its largest number, differences
below its resolution. docs/training.md has the list.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlp_fast import VisualDictionary, ops
from vlp_fast.layers.heads import BoxHead
from vlp_fast.layers.pixels import IMAGENET_MEAN, IMAGENET_STD, normalised
from vlp_fast.ops.boxes import cxcywh_to_xyxy, giou
from vlp_fast.tasks.averages import output_sums
from vlp_fast.tasks.pretraining.mvm import masked_code_loss
from vlp_fast.tasks.step import StepOutput, mean_cross_entropy

PAGE = (Path(__file__).parents[1] / "docs/training.md").read_text()


class Found(NamedTuple):
    """What came out under autocast, and what float64 says."""

    found: list[Tensor]
    expected: list[Tensor]


def half(*shape: int, dtype: torch.dtype, mean: float = 0.0, spread: float = 1.0) -> Tensor:
    return (torch.randn(*shape) * spread + mean).to(dtype)


def matching(dtype: torch.dtype) -> Found:
    """Queries for one target: probabilities, then boxes, that half precision cannot tell apart."""
    queries, images = 40, 20
    logits, boxes = torch.zeros(1, images, queries, 5), torch.full((1, images, queries, 4), 0.4)
    for image in range(images // 2):
        logits[0, image, :, 0] = 9 + torch.randperm(queries) / 16
        boxes[0, -1 - image, :, 0] = (205 + torch.randperm(queries)) / 512
    between = torch.tensor([[225.5 / 512 + 3e-5, 0.4, 0.4, 0.4]])  # of two boxes, nearer to one
    there = (between, torch.tensor([0]), torch.tensor([1]))
    targets, attributes = ops.make_targets([there] * images), logits.to(dtype).flip(3)
    half_ones = (logits.to(dtype), boxes.to(dtype), targets)
    found, _ = ops.match(*half_ones, attribute_logits=attributes)
    with torch.autocast("cpu", enabled=False), ops.use("reference"):
        wide = (half_ones[0].double(), half_ones[1].double(), targets)
        expected, _ = ops.match(*wide, attribute_logits=attributes.double())
    return Found([found], [expected])


def set_losses(dtype: torch.dtype) -> Found:
    boxes = (torch.rand(1, 1, 900, 4) * 0.1 + 0.4).to(dtype)
    logits = half(1, 1, 900, 5, dtype=dtype, spread=4)
    attributes = half(1, 1, 900, 4, dtype=dtype, spread=4)
    there = (torch.rand(600, 4) * 0.1 + 0.4, torch.arange(600) % 4, torch.arange(600) % 3)
    targets, matches = ops.make_targets([there]), torch.randperm(900)[None, :600]
    found = ops.set_losses(
        logits, boxes, targets, matches, attribute_logits=attributes, num_boxes=1.0
    )
    wide, chosen = logits[0, 0].double(), matches[0]
    classes = torch.full((900,), 4).scatter(0, chosen, targets.labels)
    weight = torch.tensor([1, 1, 1, 1, 0.1]).double()
    near, far = boxes[0, 0, chosen].double(), targets.boxes.double()
    expected = [
        F.cross_entropy(wide, classes, weight),
        (near - far).abs().sum(),
        (1 - giou(cxcywh_to_xyxy(near), cxcywh_to_xyxy(far))).sum(),
        F.cross_entropy(attributes[0, 0, chosen].double(), targets.attributes),
    ]
    terms = (found.class_loss, found.bbox_loss, found.giou_loss, found.attribute_loss)
    return Found([term[0] for term in terms], expected)


def boxes(dtype: torch.dtype) -> Found:
    head, inner = BoxHead(64), []
    head.layers[1].register_forward_hook(lambda _, __, out: inner.append(out))
    found = head(half(50, 64, dtype=dtype))
    assert inner[0].dtype == dtype
    last = head.layers[2]
    assert isinstance(last, nn.Linear)
    logits = F.linear(inner[0].relu().double(), last.weight.double(), last.bias.double())
    return Found([found], [logits.sigmoid()])


def cross_entropy(dtype: torch.dtype) -> Found:
    """Of words, answers, codes: sums of thousands of rows."""
    logits, labels = half(5000, 30, dtype=dtype, spread=4), torch.randint(30, (5000,))
    masked = torch.rand(5000) < 0.5
    expected = [
        F.cross_entropy(logits.double(), labels),
        F.cross_entropy(logits.double(), labels, label_smoothing=0.1),
        F.cross_entropy(logits[masked].double(), labels[masked]),
    ]
    found = [
        mean_cross_entropy(logits, labels),
        mean_cross_entropy(logits, labels, label_smoothing=0.1),
        masked_code_loss(logits, labels, masked),
    ]
    return Found(found, expected)


def dictionary_of(rows: Tensor) -> VisualDictionary:
    dictionary = VisualDictionary(40, rows.shape[1], 0.9)
    chosen = rows[torch.randperm(len(rows))[:40]].float()
    dictionary.embed.copy_(chosen + torch.randn(40, rows.shape[1]) * 0.01)
    return dictionary


def distances(dtype: torch.dtype) -> Found:
    """Far from the origin, where squares are too large to tell codes apart."""
    rows = half(3000, 16, dtype=dtype, mean=100, spread=2)
    dictionary = dictionary_of(rows).eval()
    _, found = dictionary(rows)
    return Found([found], [torch.cdist(rows.double(), dictionary.embed.double()).argmin(1)])


def codes(dtype: torch.dtype) -> Found:
    """Codes and averages after a step with more rows a code than half precision counts."""
    rows = half(9000, 16, dtype=dtype, mean=100, spread=2)
    dictionary = VisualDictionary(3, 16, 0.9)
    before = dictionary.embed.double().clone()
    _, chosen = dictionary(rows)
    hits = F.one_hot(chosen, 3).double()
    counts, sums = hits.sum(0), hits.T @ rows.double()
    means = sums / counts.clamp(min=1)[:, None]
    moved = torch.where(counts[:, None] > 0, 0.9 * before + 0.1 * means, before)
    assert counts.max() > 2048
    return Found([dictionary.embed, dictionary.cluster_size], [moved, 0.1 * counts])


def commitment(dtype: torch.dtype) -> Found:
    rows = half(9000, 16, dtype=dtype, mean=100, spread=2)
    dictionary = dictionary_of(rows).eval()
    quantised, _, loss = dictionary.quantise(rows)
    return Found([loss], [F.mse_loss(rows.double(), quantised.double())])


def layer_norm(dtype: torch.dtype) -> Found:
    """Rows whose sum and whose squares are beyond the largest half."""
    rows, weight = half(20, 512, dtype=dtype, mean=300), torch.rand(512) + 0.5
    block, bias = half(20, 512, dtype=dtype), torch.randn(512)
    normed, summed = ops.residual_norm(block, rows, weight, bias, eps=1e-5)
    wide = [weight.double(), bias.double(), 1e-5]
    expected = F.layer_norm(summed.double(), (512,), *wide)  # type: ignore[arg-type]
    return Found([normed, summed], [expected, rows.double() + block.double()])


def attention(dtype: torch.dtype) -> Found:
    """Products beyond the largest half, and sums of a thousand weights."""
    q, k, v = (half(1000, 2, 16, dtype=dtype, spread=spread) for spread in (60, 60, 1))
    bounds = torch.tensor([0, 1000], dtype=torch.int32)
    longest = {"max_seqlen_q": 1000, "max_seqlen_k": 1000}
    found = ops.attention(q, k, v, bounds, bounds, scale=0.01, **longest)
    products = torch.einsum("ine,jne->nij", q.double(), k.double())
    assert products.abs().max() > 65504
    weights = (products * 0.01).softmax(-1)
    return Found([found], [torch.einsum("nij,jne->ine", weights, v.double())])


def batch_norm(dtype: torch.dtype) -> Found:
    norm, maps = nn.BatchNorm2d(4, momentum=1.0), half(3, 4, 30, 30, dtype=dtype, mean=300)
    norm(maps.to(memory_format=torch.channels_last))
    wide = maps.double()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return Found([norm.running_mean, norm.running_var], [wide.mean((0, 2, 3)), wide.var((0, 2, 3))])


def pixels(dtype: torch.dtype) -> Found:
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    mean, std = (torch.tensor(x).double()[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
    expected = (images.double() / 255 - mean) / std
    return Found([normalised(images, ((8, 8), (8, 8)))], [expected])


def log(dtype: torch.dtype) -> Found:
    """A loss in half precision, which a task of one's own may have, over many rows."""
    losses = [torch.tensor(x).to(dtype) for x in (3000.5, 0.1234)]
    count = torch.tensor(9000)
    output = StepOutput(losses=dict(zip("ab", losses, strict=True)), counts={"a": (count, count)})
    _, sums = output_sums(output)
    wide = torch.stack(losses).double()
    return Found([output.total, sums[1:3, 0].float()], [wide.sum(), wide * torch.tensor([9000, 1])])


Island = Callable[[torch.dtype], Found]
ISLANDS: dict[str, tuple[str, Island]] = {
    "costs of matching, and the assignment": ("indices", matching),
    "set losses: classes, L1, GIoU, attributes": ("float32", set_losses),
    "boxes: the last layer of their head": ("float32", boxes),
    "cross entropy of words, codes, answers": ("float32", cross_entropy),
    "distances to the dictionary's codes": ("indices", distances),
    "the dictionary's codes and averages": ("float32", codes),
    "the commitment loss": ("float32", commitment),
    "layer norm, and the sum in front of it": ("half", layer_norm),
    "scores and softmax of attention": ("half", attention),
    "batch norm's statistics": ("float32", batch_norm),
    "pixels": ("float32", pixels),
    "the total loss, and sums for the log": ("float32", log),
}


def test_the_page_lists_them() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    listed = {row[0].removeprefix("| "): row[1].split()[0] for row in rows if len(row) > 1}
    for name, (gives, _) in ISLANDS.items():
        assert listed.get(name) == gives, name


# A head in float32 takes no half precision without autocast.
CASES = [(n, on) for n in ISLANDS for on in (True, False) if on or ISLANDS[n][1] is not boxes]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("name", "is_autocast"), CASES)
def test_an_island(name: str, dtype: torch.dtype, is_autocast: bool) -> None:
    """Also without autocast, which on some devices would widen what is not an island."""
    gives, compute = ISLANDS[name]
    with torch.autocast("cpu", dtype=dtype, enabled=is_autocast):
        found, expected = compute(dtype)
    given = {"indices": torch.int64, "float32": torch.float32, "half": dtype}[gives]
    near = 2 * torch.finfo(dtype).eps if gives == "half" else 2e-5  # a rounding, or nearly none
    for value, wide in zip(found, expected, strict=True):
        assert value.dtype == given
        if gives == "indices":
            assert torch.equal(value, wide)
        else:
            torch.testing.assert_close(value.double(), wide, rtol=near, atol=near)
