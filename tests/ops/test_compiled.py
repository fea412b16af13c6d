"""Every operator under `torch.compile`: one graph, the eager function's values and gradients."""

import pytest
import torch
from compiled import same_compiled
from draws import random, targets
from torch import Tensor

from vlp_fast import ops


@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
def test_compiled_attention(dropout_p) -> None:
    packing = ops.make_packing([3, 5], [-1, -1], None)

    def function(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return ops.attention(
            q,
            k,
            v,
            packing.cu_seqlens,
            packing.cu_seqlens,
            max_seqlen_q=packing.max_length,
            max_seqlen_k=packing.max_length,
            causal=True,
            dropout_p=dropout_p,
            seed=4,
        )

    same_compiled(function, *(random(8, 2, 4, seed=s) for s in range(3)))


def test_compiled_attention_of_changing_sizes_and_seeds() -> None:
    torch._dynamo.reset()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(q: Tensor, bounds: Tensor, longest: int, seed: int) -> Tensor:
        return ops.attention(
            q,
            q,
            q,
            bounds,
            bounds,
            max_seqlen_q=longest,
            max_seqlen_k=longest,
            dropout_p=0.2,
            seed=seed,
        )

    for lengths, seed in (([3, 5], 1), ([6, 2, 1], 9), ([4, 4, 9], 11)):
        packing = ops.make_packing(lengths, [-1] * len(lengths), None)
        q = random(packing.num_rows, 2, 4).requires_grad_()
        out = compiled(q, packing.cu_seqlens, packing.max_length, seed)
        eager = ops.attention(
            q,
            q,
            q,
            packing.cu_seqlens,
            packing.cu_seqlens,
            max_seqlen_q=packing.max_length,
            max_seqlen_k=packing.max_length,
            dropout_p=0.2,
            seed=seed,
        )
        torch.testing.assert_close(out, eager)
        gradients = [torch.autograd.grad(x.square().sum(), q)[0] for x in (out, eager)]
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
def test_compiled_attention_of_one_projection(dropout_p) -> None:
    bounds = torch.tensor([0, 3, 8], dtype=torch.int32)
    options = {"dropout_p": dropout_p, "seed": 4}

    def function(qkv: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        around = ops.attention_qkvpacked(qkv, bounds, max_seqlen=5, **options)
        beyond = ops.attention_kvpacked(
            q, kv, bounds, bounds, max_seqlen_q=5, max_seqlen_k=5, **options
        )
        return around + beyond

    same_compiled(function, random(8, 3, 2, 4), random(8, 2, 4), random(8, 2, 2, 4))


def test_compiled_attention_without_gradients() -> None:
    bounds = torch.tensor([0, 3, 8], dtype=torch.int32)
    lengths = {"max_seqlen_q": 5, "max_seqlen_k": 5}
    q, kv, qkv = random(8, 2, 4), random(8, 2, 2, 4), random(8, 3, 2, 4)

    def function(q: Tensor, kv: Tensor, qkv: Tensor) -> Tensor:
        around = ops.attention_qkvpacked(qkv, bounds, max_seqlen=5)
        beyond = ops.attention_kvpacked(q, kv, bounds, bounds, **lengths)
        return around + beyond + ops.attention(q, q, q, bounds, bounds, **lengths)

    with torch.no_grad():
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(q, kv, qkv), function(q, kv, qkv))


def test_compiled_attention_under_autocast() -> None:
    bounds = torch.tensor([0, 3, 8], dtype=torch.int32)

    def function(q: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return ops.attention(q, q, q, bounds, bounds, max_seqlen_q=5, max_seqlen_k=5)

    same_compiled(function, random(8, 2, 4))


def test_compiled_dictionary() -> None:
    def function(x: Tensor, codes: Tensor) -> Tensor:
        codes = codes.detach().clone()
        valid = torch.arange(x.shape[0]) > 1
        indices = ops.nearest_code(x, codes, valid)
        statistics = ops.code_statistics(x, indices, codes.shape[0], valid)[:2]
        ops.ema_update(codes, *statistics, momentum=0.9)
        average, size = torch.zeros_like(codes), torch.zeros_like(codes[:, 0])
        other = torch.zeros_like(codes)
        ops.laplace_ema_update(other, average, size, *statistics, momentum=0.4)
        return x + (codes + other + average + size[:, None])[indices]

    same_compiled(function, random(9, 4), random(5, 4, seed=1))


def test_compiled_dictionary_mutates_a_buffer() -> None:
    codes = [random(5, 4) for _ in range(2)]
    x = random(9, 4, seed=1)

    def step(codes: Tensor) -> Tensor:
        indices = ops.nearest_code(x, codes)
        ops.ema_update(codes, *ops.code_statistics(x, indices, 5)[:2], momentum=0.5)
        return codes.sum()

    total = step(codes[0])
    traced = torch.compile(step, fullgraph=True, backend="aot_eager")(codes[1])
    torch.testing.assert_close(traced, total)
    torch.testing.assert_close(codes[1], codes[0])
    assert not torch.equal(codes[0], random(5, 4))


def test_compiled_matching_and_losses() -> None:
    annotated = targets()

    def function(logits: Tensor, boxes: Tensor, attribute_logits: Tensor) -> Tensor:
        boxes = boxes.sigmoid()
        matches, _ = ops.match(logits, boxes, annotated, attribute_logits=attribute_logits)
        losses = ops.set_losses(
            logits, boxes, annotated, matches, attribute_logits=attribute_logits
        )
        return losses.class_loss + losses.bbox_loss + losses.giou_loss + losses.attribute_loss

    same_compiled(function, random(2, 3, 4, 5), random(2, 3, 4, 4), random(2, 3, 4, 3))


@pytest.mark.parametrize("shape", [(4, 6), (2, 5, 3)])
def test_compiled_assignment(shape) -> None:
    same_compiled(lambda x: torch.stack(ops.linear_sum_assignment(x)), random(*shape).long())
    torch._dynamo.reset()
    compiled = torch.compile(ops.linear_sum_assignment, fullgraph=True, backend="aot_eager")
    cost = random(*shape)
    for traced, eager in zip(compiled(cost), ops.linear_sum_assignment(cost), strict=True):
        assert torch.equal(traced, eager)


def test_compiled_packing_and_boxes() -> None:
    grid = ops.make_grid([(2, 1), (1, 2)], (2, 2))
    packing = ops.make_packing([1, 2], [1, 0], grid)

    def function(maps: Tensor) -> Tensor:
        cells = ops.gather_cells(maps, grid)
        packed = torch.zeros(packing.num_rows, 4).index_copy(
            0, packing.grid_rows, cells[packing.grid_cells]
        )
        padded = ops.unpack(packed, packing)
        corners = ops.boxes.cxcywh_to_xyxy(ops.pack(padded, packing).sigmoid())
        return ops.boxes.pairwise_giou(corners, corners) + ops.scatter_cells(cells, grid).sum()

    same_compiled(function, random(2, 4, 2, 2))


def test_compiled_attention_of_one_tensor_thrice() -> None:
    bounds = torch.tensor([0, 3, 8], dtype=torch.int32)
    same_compiled(
        lambda q: ops.attention(q, q, q, bounds, bounds, max_seqlen_q=5, max_seqlen_k=5),
        random(8, 2, 4),
    )
