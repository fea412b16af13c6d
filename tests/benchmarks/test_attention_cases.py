"""Batches of pictures, the ways to attend to them, and DETR's layers, against each other."""

import pytest
import torch
from torch import Tensor

from vlp_fast import ops
from vlp_fast.benchmarks import attention, encoders, peers
from vlp_fast.benchmarks import attention_ways as ways
from vlp_fast.benchmarks.attention_ways import Drawn
from vlp_fast.benchmarks.case import Provider, Setting
from vlp_fast.benchmarks.coco_mix import (
    ASPECTS,
    E2E_VLP,
    SOHO,
    Mix,
    Problem,
    draw_mix,
    full_mix,
    uniform,
)

SETTING = Setting(device="cpu", is_quick=True)


def test_pictures_have_the_sizes_of_detrs_augmentation() -> None:
    sizes = draw_mix(400, E2E_VLP, "cpu").grid.sizes
    assert {min(size) for size in sizes} == set(range(15, 26))
    assert max(max(size) for size in sizes) == 42
    wide = sum(width > height for height, width in sizes) / len(sizes)
    assert abs(wide - sum(aspect > 1 for aspect in ASPECTS) / 16) < 0.08
    assert max(h * w for h, w in draw_mix(400, SOHO, "cpu").grid.sizes) <= 10 * 16


def test_the_same_seed_draws_the_same_batch() -> None:
    first, again, other = (draw_mix(8, SOHO, "cpu", seed=seed) for seed in (0, 0, 1))
    assert first.grid.sizes == again.grid.sizes != other.grid.sizes


def test_full_pictures_are_not_padded() -> None:
    mix = full_mix(3, (4, 5), "cpu")
    assert mix.packing.lengths == (37,) * 3
    assert not mix.rows.is_padding.any()


def test_padding_and_back() -> None:
    mix = draw_mix(3, SOHO, "cpu")
    rows = torch.randn(mix.packing.num_rows, 2)
    padded = mix.rows.pad(rows)
    assert padded.shape[:2] == mix.rows.is_padding.shape == (3, mix.rows.padded_length)
    assert torch.equal(mix.rows.unpad(padded), rows)
    assert not padded[mix.rows.is_padding].any()
    assert (~mix.rows.is_padding).sum(1).tolist() == list(mix.packing.lengths)


def problems(mix: Mix) -> dict[str, Problem]:
    queries = uniform(3, 7, "cpu")
    return {
        "self": Problem(mix.rows, mix.rows),
        "cross": Problem(queries, mix.rows),
        "words": Problem(mix.texts, mix.rows, causal=True),
    }


def drawn(kind: str) -> Drawn:
    problem = problems(draw_mix(3, SOHO, "cpu"))[kind]
    return ways.draw(problem, (2, 16), torch.float32, torch.Generator().manual_seed(0))


def solution(provider: Provider, given: Drawn) -> list[Tensor]:
    return provider.read(given, provider.run(provider.prepare(given)))


@pytest.mark.parametrize("kind", ["self", "cross", "words"])
def test_ways_agree_with_float64(kind: str) -> None:
    given = drawn(kind)
    by_ours = solution(ways.packed(ways.by_ours), given)
    assert given.error(by_ours) < 1e-5
    assert given.error(solution(ways.padded(ways.by_sdpa), given)) < 1e-5
    assert given.error([by_ours[0] + 1, *by_ours[1:]]) > 0.1


def test_full_sequences_spare_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one would call it: a mask keeps PyTorch from its flash kernels."""
    masks: list[Tensor | None] = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def spy(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None) -> Tensor:
        masks.append(attn_mask)
        return attend(q, k, v, attn_mask)

    monkeypatch.setattr(ways.functional, "scaled_dot_product_attention", spy)
    full = uniform(2, 5, "cpu")
    for problem in (Problem(full, full), Problem(full, full, causal=True)):
        given = ways.draw(problem, (2, 16), torch.float32, torch.Generator().manual_seed(0))
        (found,) = solution(ways.padded(ways.by_sdpa, ways.forward), given)
        assert given.error([found]) < 1e-5
    assert [mask is None for mask in masks] == [True, False]


def test_pairs_are_what_a_mask_leaves() -> None:
    for problem in problems(draw_mix(3, SOHO, "cpu")).values():
        seen = ways.visible(problem) & ~problem.queries.is_padding[..., None]
        assert problem.pairs == int(seen.sum())


@pytest.mark.parametrize("kind", ["self", "cross", "words"])
def test_flex_masks_are_those_of_the_padded_rows(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without compiling: PyTorch then computes all scores."""
    monkeypatch.setattr(ways, "compiled", lambda function, dynamic: function)
    given = drawn(kind)
    found = ways.by_flex(given.problem)(*given.qkv)
    assert given.error([found]) < 1e-5


def test_packages_are_called_with_what_they_know() -> None:
    """Two versions of FlashAttention: one returns a pair and asks for no longest sequences."""
    given = drawn("words")
    problem, (q, k, v) = given.problem, given.qkv

    def third(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, causal=False):
        longest = {"max_seqlen_q": max_seqlen_q, "max_seqlen_k": max_seqlen_k}
        return ops.attention(q, k, v, cu_seqlens_q, cu_seqlens_k, **longest, causal=causal)

    def fourth(q, k, v, cu_seqlens_q=None, cu_seqlens_k=None, causal=False):
        longest = (max(problem.queries.lengths), max(problem.keys.lengths))
        return third(q, k, v, cu_seqlens_q, cu_seqlens_k, *longest, causal=causal), None

    expected = ways.by_ours(problem)(q, k, v)
    for function in (third, fourth):
        assert torch.equal(ways.by_flash(function, problem)(q, k, v), expected)


def test_every_peer_of_a_gpu_is_named() -> None:
    found = attention.peers(Setting(device="cuda"), "coco")
    padded = {attention.PADDED, attention.CUDNN}
    assert set(found) == {*padded, *attention.PACKED, attention.FLASH}
    if peers.FLASH_ATTENTION.load() is None:
        assert found[attention.FLASH].absence == "not installed: pip install flash-attn-4"
    assert found["cuDNN, packed"].run
    assert attention.peers(Setting(device="cuda"), "writing")["cuDNN, packed"].absence
    on_cpu = attention.peers(Setting(device="cpu"), "coco")
    assert [name for name, way in on_cpu.items() if way.run] == [attention.PADDED]


@pytest.mark.parametrize("is_block", [False, True])
def test_all_layers_are_ours(is_block: bool) -> None:
    layers = encoders.draw(SETTING, lambda device: draw_mix(2, SOHO, device), 1 if is_block else 2)
    ours, theirs = layers.by_ours()(), layers.by_padded()()
    assert ways.largest_difference(ours[:1], layers.unpad(theirs)[:1]) < 1e-4
    wrong = [ours[0], 1.01 * ours[1]]
    assert (
        max(map(layers.error, (ours, layers.unpad(theirs)))) < encoders.EXACT < layers.error(wrong)
    )
    assert total(ours[2:]) == total(theirs[2:]) > 0
    if is_block:
        rows = layers.mix.rows
        parts = encoders.PackedAttention(layers.layers[0], ways.by_ours(Problem(rows, rows)))
        found = encoders.step(parts, *layers.x_and_grad, layers.positions.rows())
        assert ways.largest_difference(found[:2], ours[:2]) < 1e-5
        assert total(found[2:]) == total(ours[2:])


def test_the_case_of_full_pictures_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "LARGEST", (2, 3))
    case = encoders.encoder_case(SETTING, 2, is_full=True)
    layers = case.draws[0]()
    assert not layers.mix.rows.is_padding.any()
    for provider in (one for one in case.providers.values() if one.run):
        found = provider.read(layers, provider.run(provider.prepare(layers)))
        assert case.error(layers, found) < case.tolerance


def test_varied_batches_differ() -> None:
    case = attention.cases(SETTING)[-1]
    assert case.name == "varied-B2-H8-E32"
    problems = [draw() for draw in case.draws]
    assert len({len(one.grad) for one in problems}) == 3


def total(gradients: list[Tensor]) -> int:
    return sum(gradient.numel() for gradient in gradients)
