"""Batches of pictures, the ways to attend to them, and DETR's layers, against each other."""

import importlib

import pytest
import torch
from torch import Tensor

from vlp_fast import ops
from vlp_fast.benchmarks import attention_layers
from vlp_fast.benchmarks import attention_ways as ways
from vlp_fast.benchmarks.attention import cases
from vlp_fast.benchmarks.attention_layers import CONFIG
from vlp_fast.benchmarks.attention_peers import (
    CUDNN,
    PACKAGES,
    PACKED,
    PADDED,
    by_flash,
    padded,
    peers,
)
from vlp_fast.benchmarks.attention_varied import varied_case
from vlp_fast.benchmarks.case import Provider, Setting
from vlp_fast.benchmarks.coco_mix import ASPECTS, E2E_VLP, SOHO, Mix, draw_mix, full_mix
from vlp_fast.benchmarks.encoders import (
    PackedAttention,
    encoder_layers,
    padded_encoder,
    padded_inputs,
    step,
)
from vlp_fast.benchmarks.ragged import Problem, Ragged, uniform
from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.layers.transformer import make_encoder

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
    assert padded.shape[:2] == mix.rows.is_padding.shape == (3, mix.padded_length)
    assert torch.equal(mix.rows.unpad(padded), rows)
    assert not padded[mix.rows.is_padding].any()
    assert (~mix.rows.is_padding).sum(1).tolist() == list(mix.packing.lengths)


def test_ragged_rows_are_those_of_the_packing() -> None:
    packing = draw_mix(3, SOHO, "cpu").packing
    rows = Ragged(lengths=packing.lengths, padded_length=packing.max_length, device="cpu")
    assert torch.equal(rows.bounds, packing.cu_seqlens)
    assert torch.equal(rows.longest_first, packing.longest_first)
    assert torch.equal(rows.owners, packing.sequence_of)
    assert rows.longest == packing.max_length


def problems(mix: Mix) -> dict[str, Problem]:
    queries = uniform(3, 7, "cpu")
    return {
        "self": mix.self_attention,
        "cross": Problem(queries=queries, keys=mix.rows),
        "words": Problem(queries=mix.texts, keys=mix.rows, causal=True),
    }


def largest_error(problem: Problem, provider: Provider, broken: float = 0.0) -> float:
    qkv, grad = operands(problem)
    truth = ways.exactly(problem, qkv, grad)
    found = provider.read(provider.run())
    return ways.largest_difference([found[0] + broken, *found[1:]], truth)


def operands(problem: Problem) -> tuple[list[Tensor], Tensor]:
    return ways.operands(problem, (2, 16), torch.float32, torch.Generator().manual_seed(0))


def provided(attend: ways.Attend, problem: Problem) -> Provider:
    qkv, grad = operands(problem)
    return Provider(run=lambda: ways.forward_backward(attend, qkv, grad))


@pytest.mark.parametrize("kind", ["self", "cross", "words"])
def test_ways_agree_with_float64(kind) -> None:
    problem = problems(draw_mix(3, SOHO, "cpu"))[kind]
    by_ours = provided(ways.by_ours(problem), problem)
    assert largest_error(problem, by_ours) < 1e-5
    masked = padded(ways.by_masked_sdpa(problem), problem, *operands(problem))
    assert largest_error(problem, masked) < 1e-5
    assert largest_error(problem, by_ours, broken=1.0) > 0.1


def test_pairs_are_what_a_mask_leaves() -> None:
    for problem in problems(draw_mix(3, SOHO, "cpu")).values():
        seen = ways.visible(problem) & ~problem.queries.is_padding[..., None]
        assert problem.pairs == int(seen.sum())


def test_flex_masks_are_those_of_the_padded_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without compiling: PyTorch then computes all scores."""
    flex = importlib.import_module("torch.nn.attention.flex_attention").flex_attention
    monkeypatch.setattr(ways, "_compiled_flex", lambda: flex)
    for problem in problems(draw_mix(3, SOHO, "cpu")).values():
        qkv, _ = operands(problem)
        found = ways.by_flex(problem)(*qkv)
        assert ways.largest_difference([found], [ways.by_ours(problem)(*qkv)]) < 1e-5


def test_packages_are_called_with_what_they_know() -> None:
    """Two versions of FlashAttention: one returns a pair and asks for no longest sequences."""
    problem = problems(draw_mix(3, SOHO, "cpu"))["words"]
    (q, k, v), _ = operands(problem)

    def third(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, causal=False):
        longest = {"max_seqlen_q": max_seqlen_q, "max_seqlen_k": max_seqlen_k}
        return ops.attention(q, k, v, cu_seqlens_q, cu_seqlens_k, **longest, causal=causal)

    def fourth(q, k, v, cu_seqlens_q=None, cu_seqlens_k=None, causal=False):
        longest = (max(problem.queries.lengths), max(problem.keys.lengths))
        return third(q, k, v, cu_seqlens_q, cu_seqlens_k, *longest, causal=causal), None

    expected = ways.by_ours(problem)(q, k, v)
    for function in (third, fourth):
        assert torch.equal(by_flash(function, problem)(q, k, v), expected)


def test_every_peer_of_a_gpu_is_named() -> None:
    """Made as on a GPU, where nothing runs before the harness asks for it."""
    problem = problems(draw_mix(3, SOHO, "cpu"))["self"]
    found = peers(Setting(device="cuda"), problem, *operands(problem))
    assert set(found) == {PADDED, f"{PADDED}, cuDNN", *PACKED, *PACKAGES}
    for name, (peer, _) in PACKAGES.items():
        if peer.load() is None:
            assert found[name] == peer.absence
    assert isinstance(found[CUDNN], Provider)
    words = problems(draw_mix(3, SOHO, "cpu"))["words"]
    absent = peers(Setting(device="cuda"), words, *operands(words))[CUDNN]
    assert isinstance(absent, str)
    on_cpu = peers(SETTING, problem, *operands(problem))
    assert [name for name, way in on_cpu.items() if isinstance(way, Provider)] == [PADDED]


def test_the_padded_encoder_is_ours() -> None:
    mix = draw_mix(2, SOHO, "cpu")
    encoder = make_encoder(CONFIG, 2)
    sine = SinePosition(CONFIG.width).on_rows(mix.grid, mix.packing)
    x, grad = torch.randn(2, mix.packing.num_rows, CONFIG.width)
    ours = step(encoder, x, mix.packing, sine, grad=grad)
    inputs = padded_inputs(mix, (x, sine.rows()))
    theirs = step(padded_encoder(encoder), *inputs, grad=mix.rows.pad(grad))
    unpadded = [mix.rows.unpad(found) for found in theirs[:2]]
    assert ways.largest_difference(ours[:2], unpadded) < 1e-4
    assert total(ours[2:]) == total(theirs[2:]) > 0


def test_the_composed_attention_is_ours() -> None:
    mix = draw_mix(2, SOHO, "cpu")
    (layer,) = encoder_layers(make_encoder(CONFIG, 1))
    sine = SinePosition(CONFIG.width).on_rows(mix.grid, mix.packing)
    x, grad = torch.randn(2, mix.packing.num_rows, CONFIG.width)
    ours = step(layer.attention, x, mix.packing, positions=sine, grad=grad)
    composed = PackedAttention(layer, ways.by_ours(mix.self_attention))
    theirs = step(composed, x, sine.rows(), grad=grad)
    assert ways.largest_difference(theirs[:2], ours[:2]) < 1e-5
    assert total(ours[2:]) == total(theirs[2:]) > 0


def test_the_case_of_full_pictures_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_layers, "LARGEST", (2, 3))
    case = attention_layers.full_encoder_case(SETTING, 2)
    for provider in case.providers.values():
        assert case.error(provider.read(provider.run())) < case.tolerance


def test_varied_batches_differ_and_agree() -> None:
    case = varied_case(SETTING, "varied", 1, (1, 8), torch.float32)
    found = [provider.read(provider.run()) for provider in case.providers.values()]
    assert all(case.error(one) < case.tolerance for one in found)
    assert len({len(out) for out, *_ in found[0]}) == case.calls > 1
    broken = [[out + 1, *rest] for out, *rest in found[0]]
    assert case.error([*found[0][:-1], broken[-1]]) > 0.1


def total(gradients: list[Tensor]) -> int:
    return sum(gradient.numel() for gradient in gradients)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_names_say_their_sizes(device) -> None:
    names = list(cases(Setting(device=device, is_quick=True)))
    assert all("-B2-" in name for name in names)
    kinds = ["coco", "soho", "block", "encoder6", "objects", "words", "writing", "dense", "varied"]
    assert list(dict.fromkeys(name.partition("-")[0] for name in names)) == kinds
    assert any("full" in name for name in names) == (device == "cuda")
