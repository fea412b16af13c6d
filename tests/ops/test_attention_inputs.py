"""Attention of awkward inputs: lengths about a tile, wide heads, what is not finite, large scores.

Interpreted Triton takes 16 queries and 32 keys at a time.
"""

import pytest
import torch
import torch.nn.functional as F
from dense_attention import dense, packed, rows
from torch import Tensor

from vlp_fast import ops

pytestmark = pytest.mark.usefixtures("attention_backend")

HALF = (torch.bfloat16, torch.float16)

SAMPLES = {
    "about a tile": ([32, 33, 31, 64, 65, 63], [33, 31, 32, 63, 64, 65]),
    "one sequence": ([47], [47]),
    "one token": ([1, 40, 1], [1, 40, 1]),
    "one cell": ([1 + 1, 20 + 1], [1 + 1, 20 + 1]),
    "more queries": ([80, 17], [16, 1]),
    "more keys": ([5, 33], [97, 64]),
}


def results(inputs: list[Tensor], nq: list[int], nk: list[int], upstream: Tensor, **options):
    """Output, and gradients of q, k and v."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    out = packed(*leaves, nq, nk, **options)
    return [out.detach(), *torch.autograd.grad(out, leaves, upstream)]


def exact_results(inputs: list[Tensor], nq: list[int], nk: list[int], upstream: Tensor, **options):
    leaves = [x.detach().double().requires_grad_() for x in inputs]
    out = dense(*leaves, nq, nk, **options)
    return [out.detach(), *torch.autograd.grad(out, leaves, upstream.double())]


def definition(*args, **options):
    with ops.use("reference"):
        return results(*args, **options)


def draw(nq: list[int], nk: list[int], **shape) -> list[Tensor]:
    return [rows(n, seed=seed, **shape) for seed, n in enumerate((nq, nk, nk, nq))]


def assert_all_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(
            x.double(), y.double(), rtol=tolerance, atol=tolerance, equal_nan=True
        )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sample", SAMPLES)
def test_lengths(sample, causal) -> None:
    nq, nk = SAMPLES[sample]
    *inputs, upstream = draw(nq, nk, heads=2)
    found = results(inputs, nq, nk, upstream, causal=causal)
    assert_all_close(found, exact_results(inputs, nq, nk, upstream, causal=causal), 5e-6)


def test_the_diagonal_anywhere_in_a_tile(attention_backend, request) -> None:
    """Every remainder of nq - nk by both sides of a tile, over three tiles and more.

    Interpreted programs, whose tiles are smaller, get fewer rows but for `make test-all`: 46 are
    enough for whole tiles of queries behind each diagonal.
    """
    is_small = attention_backend == "triton" and not request.config.getoption("--exhaustive")
    length = 49 if is_small else 65
    nq, nk = [length + shift for shift in range(-24, 8)], [length] * 32
    *inputs, upstream = draw(nq, nk, heads=1, width=16)
    found = results(inputs, nq, nk, upstream, causal=True)
    assert_all_close(found, exact_results(inputs, nq, nk, upstream, causal=True), 5e-6)


def test_largest_grid_of_detr_with_text(attention_backend, request) -> None:
    """Interpreted programs take minutes for it: but for `make test-all` they get a small grid."""
    is_small = attention_backend == "triton" and not request.config.getoption("--exhaustive")
    size = (7, 18) if is_small else (25, 42)
    packing = ops.make_packing([40, 3], [0, 1], ops.make_grid([size, (1, 1)], size))
    lengths = list(packing.lengths)
    assert lengths == ([166, 4] if is_small else [1090, 4])
    *inputs, upstream = draw(lengths, lengths, heads=1)
    found = results(inputs, lengths, lengths, upstream)
    assert_all_close(found, exact_results(inputs, lengths, lengths, upstream), 1e-5)


@pytest.mark.parametrize("width", [1, 20, 24, 32, 64, 128, 200])
def test_head_widths(width) -> None:
    nq, nk = [33, 5], [40, 17]
    *inputs, upstream = draw(nq, nk, heads=2, width=width)
    options = {"causal": True, "scale": 0.2}
    found = results(inputs, nq, nk, upstream, **options)
    assert_all_close(found, exact_results(inputs, nq, nk, upstream, **options), 1e-5)


def test_causal_queries_at_the_end_of_their_keys() -> None:
    """As captions behind their pictures: each sees at least one key."""
    nq, nk = [3, 20, 20, 7, 0], [35, 41, 41, 7, 4]
    *inputs, upstream = draw(nq, nk)
    found = results(inputs, nq, nk, upstream, causal=True)
    assert_all_close(found, exact_results(inputs, nq, nk, upstream, causal=True), 5e-6)


@pytest.mark.parametrize("scale", [-0.7, 0.0])
@pytest.mark.parametrize("causal", [False, True])
def test_scales_that_are_not_positive(scale, causal) -> None:
    nq, nk = [35, 4], [33, 40]
    *inputs, upstream = draw(nq, nk)
    options = {"causal": causal, "scale": scale}
    found = results(inputs, nq, nk, upstream, **options)
    assert_all_close(found, exact_results(inputs, nq, nk, upstream, **options), 5e-6)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("causal", [False, True])
def test_dropout_of_several_tiles_is_the_definitions(dtype, causal) -> None:
    nq, nk = [37, 0, 20], [70, 3, 33]
    *inputs, upstream = draw(nq, nk, dtype=dtype)
    options = {"causal": causal, "dropout_p": 0.3, "seed": 2**31 + 7}
    found = results(inputs, nq, nk, upstream, **options)
    expected = definition(inputs, nq, nk, upstream, **options)
    tolerance = {torch.float32: 5e-6, torch.bfloat16: 3e-2, torch.float16: 4e-3}[dtype]
    assert_all_close(found, expected, tolerance)


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf])
@pytest.mark.parametrize("causal", [False, True])
def test_neighbours_that_are_not_finite_stay_at_home(garbage, causal) -> None:
    lengths = [21, 40, 35]
    clean = draw(lengths, lengths, heads=1)
    dirty = [x.clone() for x in clean]
    for x in dirty:
        x[21:61] = garbage
    keep = torch.tensor([*range(21), *range(61, 96)])
    outcomes = [
        results(inputs[:3], lengths, lengths, inputs[3], causal=causal, dropout_p=0.2, seed=1)
        for inputs in (clean, dirty)
    ]
    for x, y in zip(*outcomes, strict=True):
        assert torch.equal(x[keep], y[keep])


def test_expanded_gradient_of_strided_inputs_in_several_tiles() -> None:
    lengths = [35, 3]
    fused = torch.randn(38, 3, 3, 8).requires_grad_()
    out = packed(*fused.unbind(1), lengths, lengths)
    (found,) = torch.autograd.grad(out.sum(), fused)
    exact = fused.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(dense(*exact.unbind(1), lengths, lengths).sum(), exact)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("operand", "value"),
    [(0, torch.inf), (0, -torch.inf), (1, torch.inf), (1, -torch.inf), (2, torch.inf), (0, -0.0)],
)
def test_what_is_not_finite_is_the_definitions(attention_backend, operand, value) -> None:
    lengths = [16, 32]  # whole tiles: rows behind a sequence differ among backends
    *inputs, upstream = draw(lengths, lengths)
    inputs[operand][5, 1] = value
    found = results(inputs, lengths, lengths, upstream)
    expected = definition(inputs, lengths, lengths, upstream)
    if attention_backend == "torch" and operand == 1:  # NaN reaches all values of the sequence
        assert found[3][:16, 1].isnan().all()
        found[3][:16, 1] = expected[3][:16, 1]
    assert_all_close(found, expected, 5e-6)


def test_rows_whose_scores_are_all_minus_infinity_are_zeros() -> None:
    nq, nk = [40], [37]
    q, k, v, _ = draw(nq, nk)
    k[:], q[:] = -torch.inf, q.abs()
    out = packed(q, k, v, nq, nk)
    assert torch.equal(out, torch.zeros_like(out))


def sdpa_results(inputs: list[Tensor], upstream: Tensor, causal: bool) -> list[Tensor]:
    """PyTorch's attention of one sequence."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    batched = (x.transpose(0, 1)[None] for x in leaves)
    out = F.scaled_dot_product_attention(*batched, is_causal=causal)[0].transpose(0, 1)
    return [out.detach(), *torch.autograd.grad(out, leaves, upstream)]


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("factor", [1.0, 60.0])
def test_errors_are_at_most_twice_those_of_pytorch(dtype, causal, factor) -> None:
    lengths = [75]
    *inputs, upstream = draw(lengths, lengths, dtype=dtype, heads=1, width=32)
    inputs[0] *= factor
    inputs[1] *= factor
    scores = torch.einsum("ine,jne->nij", *(x.double() for x in inputs[:2])) * 32**-0.5
    assert factor == 1 or scores.abs().max() > 1e4
    exact = exact_results(inputs, lengths, lengths, upstream, causal=causal)
    ours = results(inputs, lengths, lengths, upstream, causal=causal)
    theirs = sdpa_results(inputs, upstream, causal)
    for x, peer, y in zip(ours, theirs, exact, strict=True):
        allowed = 2 * (peer.double() - y).abs().max() + torch.finfo(dtype).tiny
        assert (x.double() - y).abs().max() <= allowed
