"""The CUDA source of attention, run on the CPU, against float64 attention of each sequence."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vlp_fast import native, ops
from vlp_fast.ops import attention_device
from vlp_fast.reference import attention as reference

sys.path.insert(0, str(Path(__file__).parent))
from test_attention import LENGTHS, bounds, dense, packed

pytestmark = pytest.mark.xdist_group("cuda_on_cpu")

# Tiles are of 64 own rows, 16 for each warp, and of 32 or 16 that pass by.
TILES = {
    "around a warp": ([15, 16, 17], [17, 15, 16]),
    "around a passing tile": ([31, 33, 32], [33, 32, 31]),
    "around an own tile": ([63, 65], [65, 64]),
    "two own tiles": ([129, 2], [131, 61]),
    "far fewer keys": ([70, 0, 3], [2, 40, 0]),
    "a tile's first key for a warp's last query": ([32, 16], [33, 33]),
}
WIDTHS = [1, 20, 24, 32, 64, 100, 128]
TOLERANCE = 4e-3


@pytest.fixture(autouse=True)
def on_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Attention by the CUDA backend, whose kernels are run on the CPU."""
    module = request.getfixturevalue("cuda_modules")(700)
    monkeypatch.setattr(native, "required", lambda: module)
    for name in ("attention", "attention_backward"):
        backends = ops.operators()[name].backends
        monkeypatch.setitem(backends, "cuda", getattr(attention_device, name))
    with ops.use("cuda"):
        yield


def draw(lengths: list[int], width: int, *, seed: int, heads: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sum(lengths), heads, width, generator=generator).half()


def inputs_of(nq: list[int], nk: list[int], width: int = 32) -> list[Tensor]:
    """Of q, k, v and the gradient that comes in."""
    return [draw(n, width, seed=s) for s, n in enumerate((nq, nk, nk, nq))]


def run(inputs: list[Tensor], nq: list[int], nk: list[int], **options) -> list[Tensor]:
    """Of attention: its result, then the gradients of q, k and v."""
    *leaves, upstream = (x.detach().clone().requires_grad_() for x in inputs)
    out = packed(*leaves, nq, nk, **options)
    out.backward(upstream.detach())
    return [out.detach(), *(x.grad for x in leaves)]


def exact(inputs: list[Tensor], nq: list[int], nk: list[int], **options) -> list[Tensor]:
    """The same by the definition in float64, which has the documented dropout."""
    with ops.use("reference"):
        return run([x.double() for x in inputs], nq, nk, **options)


def check(inputs: list[Tensor], nq: list[int], nk: list[int], **options) -> None:
    found, expected = run(inputs, nq, nk, **options), exact(inputs, nq, nk, **options)
    for x, y in zip(found, expected, strict=True):
        assert x.dtype == torch.float16
        torch.testing.assert_close(x.double(), y, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("lengths", LENGTHS | TILES)
@pytest.mark.parametrize("causal", [False, True])
def test_equals_the_definition_for_every_length(lengths, causal) -> None:
    nq, nk = (LENGTHS | TILES)[lengths]
    check(inputs_of(nq, nk), nq, nk, causal=causal)


@pytest.mark.parametrize("width", WIDTHS)
def test_equals_dense_attention_for_every_head_width(width) -> None:
    nq, nk = [21, 66, 1], [50, 18, 7]
    inputs = inputs_of(nq, nk, width)
    leaves = [x.double().requires_grad_() for x in inputs[:3]]
    out = dense(*leaves, nq, nk, causal=True)
    out.backward(inputs[3].double())
    expected = [out.detach(), *(x.grad for x in leaves)]
    for x, y in zip(run(inputs, nq, nk, causal=True), expected, strict=True):
        torch.testing.assert_close(x.double(), y, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(("length", "width"), [(97, 32), (70, 64), (70, 128)])
@pytest.mark.parametrize("causal", [False, True])
def test_is_as_exact_as_attention_of_pytorch(length, width, causal) -> None:
    lengths = [length] * 2
    inputs = inputs_of(lengths, lengths, width)
    theirs = [x.unflatten(0, (2, length)).transpose(1, 2) for x in inputs]
    *leaves, upstream = (x.clone().requires_grad_() for x in theirs)
    out = F.scaled_dot_product_attention(*leaves, is_causal=causal)
    out.backward(upstream.detach())
    peers = [x.transpose(1, 2).flatten(0, 1) for x in (out.detach(), *(x.grad for x in leaves))]
    ours = run(inputs, lengths, lengths, causal=causal)
    truth = exact(inputs, lengths, lengths, causal=causal)
    for x, peer, y in zip(ours, peers, truth, strict=True):
        assert (x - y).square().mean() <= 4 * (peer - y).square().mean()
        assert (x - y).abs().max() <= 2 * (peer - y).abs().max()


def test_log_sum_exps_are_the_definition_s() -> None:
    nq, nk = [3, 70, 2], [40, 65, 0]
    q, k, v, _ = inputs_of(nq, nk)
    arguments = (bounds(nq), bounds(nk), None, 70, 65, True, 0.25, 0.0, None)
    out, lse = attention_device.attention(q, k, v, *arguments)
    wide = (x.double() for x in (q, k, v))
    expected, expected_lse = reference.attention(*wide, *arguments)
    torch.testing.assert_close(lse.double(), expected_lse, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.double(), expected, rtol=TOLERANCE, atol=TOLERANCE)
    # Causal: of 70 queries and 65 keys, five see nothing; nor do those of the last sequence.
    assert lse.isinf().sum(1).tolist() == [7, 7]
    assert (out[3:8] == 0).all() and (out[-2:] == 0).all()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("seed", [7, 2**40 + 3])
def test_dropout_is_exactly_the_definition_s(p, seed) -> None:
    nq, nk = [70, 3], [67, 40]
    q, k = torch.zeros(73, 2, 67).half(), torch.zeros(107, 2, 67).half()
    v = torch.cat([torch.eye(67), torch.eye(67)[:40]])[:, None].expand(-1, 2, -1).half()
    options = {"dropout_p": p, "seed": seed}
    out = packed(q, k, v, nq, nk, **options)
    with ops.use("reference"):
        expected = packed(q.double(), k.double(), v.double(), nq, nk, **options)
    assert torch.equal(out > 0, expected > 0)
    assert (out > 0).any() and not (out[:, :, :40] > 0).all()


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_see_the_same_dropout(causal) -> None:
    nq, nk = [67, 33], [80, 33]
    check(inputs_of(nq, nk), nq, nk, causal=causal, dropout_p=0.3, seed=11)


@pytest.mark.parametrize("factor", [1e4, 1.0, 1e-6])
@pytest.mark.parametrize("value", [1.0, 100.0])
def test_gradients_of_any_size_keep_their_precision(factor, value) -> None:
    nq, nk = [67, 5], [70, 40]
    q, k, v, upstream = inputs_of(nq, nk)
    inputs = [q, k / value, value * v, (factor * upstream.float()).half()]
    options = {"scale": 0.2 * value}
    found, expected = run(inputs, nq, nk, **options), exact(inputs, nq, nk, **options)
    smallest = 2.0**-24  # of half precision
    for x, y in zip(found, expected, strict=True):
        assert torch.equal(x.isfinite() | (y.abs() > 65000), torch.ones_like(x, dtype=torch.bool))
        error = (x - y)[x.isfinite()].abs().max()
        assert error < 1e-3 * y.abs().max() + smallest


def test_scores_beyond_half_precision_are_no_matter() -> None:
    nq, nk = [20, 33], [40, 33]
    q, k, v, upstream = inputs_of(nq, nk)
    inputs = [q * 100, k * 100, v, upstream]
    assert (inputs[0][:, 0].float() @ inputs[1][:, 0].float().T).abs().max() > 65504
    found, expected = run(inputs, nq, nk, scale=1.0), exact(inputs, nq, nk, scale=1.0)
    torch.testing.assert_close(found[0].double(), expected[0], rtol=2e-2, atol=2e-2)
    assert all(x.isfinite().all() for x in found)


def test_nan_in_a_neighbour_reaches_neither_values_nor_gradients() -> None:
    nq, nk = [19, 40, 30], [33, 6, 45]
    clean = inputs_of(nq, nk)
    dirty = [x.clone() for x in clean]
    for x, n in zip(dirty, (nq, nk, nk, nq), strict=True):
        x[n[0] : n[0] + n[1]] = torch.nan
    results = [run(x, nq, nk, dropout_p=0.2, seed=1) for x in (clean, dirty)]
    for a, b, n in zip(*results, (nq, nq, nk, nk), strict=True):
        assert torch.equal(a[: n[0]], b[: n[0]])
        assert torch.equal(a[n[0] + n[1] :], b[n[0] + n[1] :])
        assert b[n[0] : n[0] + n[1]].isnan().all()


def test_views_of_projections_and_gaps_change_nothing() -> None:
    lengths, width = [35, 70], 24
    parts = [draw(lengths, width, seed=s) for s in range(3)]
    upstream = draw(lengths, width, seed=3)
    plain = run([*parts, upstream], lengths, lengths)
    qkv = torch.stack(parts, 1).requires_grad_()
    out = ops.attention_qkvpacked(qkv, bounds(lengths), max_seqlen=70)
    out.backward(upstream)
    assert all(map(torch.equal, (out, *qkv.grad.unbind(1)), plain))
    # Not on multiples of 16 bytes, and numbers of a head that do not lie side by side.
    shifted = [torch.cat([x[..., :1], x], -1)[..., 1:] for x in parts]
    assert all(map(torch.equal, run([*shifted, upstream], lengths, lengths), plain))
    q, k, v = (x.mT.contiguous().mT for x in parts)
    assert torch.equal(packed(q, k, v, lengths, lengths), plain[0])


def test_expanded_gradient() -> None:
    lengths = [35, 40]
    *parts, _ = inputs_of(lengths, lengths)
    leaves = [x.clone().requires_grad_() for x in parts]
    packed(*leaves, lengths, lengths).sum().backward()
    ones = run([*parts, torch.ones_like(parts[0])], lengths, lengths)
    assert all(map(torch.equal, (x.grad for x in leaves), ones[1:]))


def test_gradients_are_written_where_they_belong_and_nowhere_else() -> None:
    lengths = [33, 20]
    q, k, v, upstream = inputs_of(lengths, lengths, 20)
    at = bounds(lengths)
    arguments = (at, at, None, 33, 33, False, 0.2, 0.0, None)
    out, lse = attention_device.attention(q, k, v, *arguments)
    inputs = (upstream, q, k, v, out, lse, *arguments)
    dense_grads = [torch.empty_like(q) for _ in range(3)]
    attention_device.attention_backward(*inputs, *dense_grads)
    # (T, 3, N, E) in the middle of something larger, then numbers of a head with gaps.
    buffer = torch.full((55, 4, 2, 21), 7.0).half()
    attention_device.attention_backward(*inputs, *buffer[1:54, :3, :, :20].unbind(1))
    assert all(map(torch.equal, buffer[1:54, :3, :, :20].unbind(1), dense_grads))
    buffer[1:54, :3, :, :20] = 7
    assert (buffer == 7).all()
    gaps = [torch.empty(53, 2, 40).half()[..., ::2] for _ in range(3)]
    attention_device.attention_backward(*inputs, *gaps)
    assert all(map(torch.equal, gaps, dense_grads))


def test_runs_and_orders_give_the_same_bits() -> None:
    nq, nk = [35, 70, 3], [33, 80, 40]
    inputs = inputs_of(nq, nk)
    order = torch.tensor([1, 2, 0], dtype=torch.int32)
    options = {"causal": True, "dropout_p": 0.1, "seed": 3}
    first = run(inputs, nq, nk, **options)
    for other in (run(inputs, nq, nk, **options), run(inputs, nq, nk, order=order, **options)):
        assert all(map(torch.equal, first, other))


@pytest.mark.parametrize(("dtype", "width"), [(torch.bfloat16, 32), (torch.half, 136)])
def test_what_tensor_cores_do_not_multiply_is_left_to_the_definition(dtype, width) -> None:
    lengths = [5, 9]
    inputs = [x.to(dtype) for x in inputs_of(lengths, lengths, width)]
    found = run(inputs, lengths, lengths)
    with ops.use("reference"):
        assert all(map(torch.equal, found, run(inputs, lengths, lengths)))


def test_wrong_input_is_refused() -> None:
    q = draw([4], 8, seed=0)
    at = bounds([4])
    options = (None, 4, 4, False, 1.0, 0.0, None)
    with pytest.raises(ValueError, match=r"v has shape \(4, 2, 8\), expected \(3, 2, 8\)"):
        attention_device.attention(q, q[:3], q, at, at, *options)
    with pytest.raises(ValueError, match="v is float32, expected float16"):
        attention_device.attention(q, q, q.float(), at, at, *options)
    with pytest.raises(ValueError, match="cu_seqlens_k has shape"):
        attention_device.attention(q, q, q, at, bounds([2, 2]), *options)
    with pytest.raises(ValueError, match="cu_seqlens_q is int64, expected int32"):
        attention_device.attention(q, q, q, at.long(), at, *options)
