"""The CUDA source of attention, run on the CPU, on what is awkward in half precision."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vlp_fast import native, ops
from vlp_fast.ops import attention_device

sys.path.insert(0, str(Path(__file__).parent))
from test_attention import bounds, packed
from test_attention_cuda import check, exact, inputs_of, on_cpu, run

__all__ = ["on_cpu"]
pytestmark = pytest.mark.xdist_group("cuda_on_cpu")

SMALLEST = 2.0**-24  # of half precision


def definition(inputs: list[Tensor], nq: list[int], nk: list[int], **options) -> list[Tensor]:
    """The same in half precision, where infinities are what they are on a GPU."""
    with ops.use("reference"):
        return run(inputs, nq, nk, **options)


@pytest.mark.parametrize("scale", [-0.3, 0.0])
@pytest.mark.parametrize("causal", [False, True])
def test_scales_that_are_not_positive(scale, causal) -> None:
    nq, nk = [35, 4], [33, 40]
    check(inputs_of(nq, nk), nq, nk, causal=causal, scale=scale)


def test_ties_of_scores_beyond_ten_thousand() -> None:
    nq, nk = [40, 33], [70, 33]
    *parts, upstream = inputs_of(nq, nk)
    inputs = [*((8 * x).round() * 8 for x in parts[:2]), parts[2], upstream]
    inputs[1][1:40:2] = inputs[1][0:40:2]
    scores = torch.einsum("ine,jne->nij", *(x.double() for x in inputs[:2]))
    assert scores.abs().max() > 1e4 and (scores[..., 0] == scores[..., 1]).all()
    found, expected = run(inputs, nq, nk, scale=1.0), exact(inputs, nq, nk, scale=1.0)
    # Weights as exact as a log-sum-exp in float32; dQ and dK are differences of what is rounded.
    torch.testing.assert_close(found[0].double(), expected[0], rtol=4e-3, atol=4e-3)
    torch.testing.assert_close(found[3].double(), expected[3], rtol=2e-2, atol=2e-2)
    assert all(x.isfinite().all() for x in found)


def test_scores_whose_rounding_errors_exceed_one_keep_weights_to_one() -> None:
    lengths = [40]
    q, k, v, upstream = inputs_of(lengths, lengths)
    found = run([q * 1000, k * 1000, v, upstream], lengths, lengths, scale=100.0)
    assert all(x.isfinite().all() for x in (found[0], found[3]))
    assert found[3].abs().max() <= 40 * upstream.abs().max()


@pytest.mark.parametrize(
    ("operand", "value"),
    [(0, torch.inf), (0, -torch.inf), (1, torch.inf), (1, -torch.inf), (2, torch.inf), (0, -0.0)],
)
def test_what_is_not_finite_is_the_definitions(operand, value) -> None:
    lengths = [64, 64]
    inputs = inputs_of(lengths, lengths)
    inputs[operand][5, 1] = value
    pairs = zip(run(inputs, lengths, lengths), definition(inputs, lengths, lengths), strict=True)
    for x, y in pairs:
        torch.testing.assert_close(x, y, rtol=4e-3, atol=4e-3, equal_nan=True)


def test_keys_of_score_minus_infinity_are_not_there() -> None:
    q, k, v, _ = inputs_of([40], [70])
    q, hidden = q.abs(), torch.arange(70) % 3 > 0
    k[hidden] = -torch.inf
    seen = packed(q, k[~hidden], v[~hidden], [40], [24])
    torch.testing.assert_close(packed(q, k, v, [40], [70]), seen, rtol=2e-3, atol=2e-3)
    k[:] = -torch.inf
    assert torch.equal(packed(q, k, v, [40], [70]), torch.zeros_like(q))


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf])
def test_neighbours_that_are_not_finite_stay_at_home(garbage) -> None:
    lengths = [21, 40, 70]
    clean = inputs_of(lengths, lengths)
    dirty = [x.clone() for x in clean]
    for x in dirty:
        x[21:61] = garbage
    keep = torch.tensor([*range(21), *range(61, 131)])
    options = {"causal": True, "dropout_p": 0.2, "seed": 1}
    results = [run(inputs, lengths, lengths, **options) for inputs in (clean, dirty)]
    for x, y in zip(*results, strict=True):
        assert torch.equal(x[keep], y[keep])


@pytest.mark.parametrize(("nq", "nk"), [([3, 2], [0, 0]), ([0, 0], [3, 2]), ([0], [0])])
def test_nothing_to_see_gives_zeros(nq, nk) -> None:
    inputs = inputs_of(nq, nk)
    for x, y in zip(run(inputs, nq, nk, dropout_p=0.5, seed=2), inputs, strict=True):
        assert torch.equal(x, torch.zeros_like(x)) and x.shape[1:] == y.shape[1:]


def test_no_sequences() -> None:
    q = torch.empty(0, 2, 32).half().requires_grad_()
    out = ops.attention(q, q, q, bounds([]), bounds([]), max_seqlen_q=0, max_seqlen_k=7)
    out.sum().backward()
    assert out.shape == q.grad.shape == (0, 2, 32)


def test_max_seqlen_may_be_larger() -> None:
    lengths = [40, 3]
    q, k, v, _ = inputs_of(lengths, lengths)
    at = bounds(lengths)
    expected = packed(q, k, v, lengths, lengths)
    for longest in (41, 200, 2**40):
        found = ops.attention(q, k, v, at, at, max_seqlen_q=longest, max_seqlen_k=longest)
        assert torch.equal(found, expected)


def test_sequences_are_begun_in_order() -> None:
    # An order that names one of them twice and the other never: its rows are nobody's.
    lengths = [35, 20]
    q, k, v, _ = inputs_of(lengths, lengths)
    out, lse = torch.full_like(q, 7), torch.full((2, 55), 7.0)
    at, order = bounds(lengths), torch.tensor([1, 1], dtype=torch.int32)
    options = (35, 35, False, 32**-0.5, 0.0, None)
    native.required().attention_cuda(q, k, v, at, at, order, *options, out, lse)
    assert (out[:35] == 7).all() and (lse[:, :35] == 7).all()
    assert torch.equal(out[35:], packed(q, k, v, lengths, lengths)[35:])


def test_heads_may_share_their_keys() -> None:
    lengths = [35, 20]
    q, k, v, upstream = inputs_of(lengths, lengths)
    shared = [x[:, :1].expand(-1, 2, -1) for x in (k, v)]
    dense = [x.contiguous() for x in shared]
    results = [run([q, *x, upstream], lengths, lengths) for x in (shared, dense)]
    assert all(map(torch.equal, *results))


def test_dropout_rounds_its_threshold_to_even() -> None:
    # The hash of one of these weights is -32766, which 2 of 65536 keep and 3 do not.
    q, v = torch.zeros(64, 2, 64).half(), torch.eye(64)[:, None].expand(-1, 2, -1).half()
    results = [
        packed(q, q, v, [64], [64], dropout_p=share / 65536, seed=1) > 0 for share in (2, 2.5, 3)
    ]
    assert torch.equal(results[0], results[1]) and not torch.equal(results[1], results[2])


@pytest.mark.parametrize("is_falling", [False, True])
def test_gradients_of_very_different_rows_share_a_tile(is_falling) -> None:
    # The lift of a warp's gradients shrinks from tile to tile, or fits from the first one on.
    lengths = [70]
    q, k, v, upstream = inputs_of(lengths, lengths)
    sizes = torch.logspace(-5, 3, 70).flip(0) if is_falling else torch.logspace(-5, 3, 70)
    rows = (sizes[:, None, None] * upstream.float()).half()
    values = (v.float() * sizes[:, None, None] / 100).half()
    for inputs in ([q, k, v, rows], [q, k, values, upstream], [q, k, values, rows]):
        found, expected = run(inputs, lengths, lengths), exact(inputs, lengths, lengths)
        for x, y in zip(found[1:], expected[1:], strict=True):
            assert (x - y).abs().max() < 2e-3 * y.abs().max() + SMALLEST
    # What a small gradient of the result makes is small itself: of queries, row by row.
    found, expected = (f([q, k, v, rows], lengths, lengths)[1] for f in (run, exact))
    errors, sizes = ((x.abs().amax((1, 2))) for x in (found - expected, expected))
    assert (errors < 5e-3 * sizes + 4 * SMALLEST).all()


def test_weights_below_half_precision_count() -> None:
    # One key takes nearly all the weight, and has no value.
    lengths = [40]
    q, k, v, upstream = inputs_of(lengths, lengths)
    q[..., 0], k[..., 0], k[7, :, 0], v[7] = 1, 0, 76, 0
    inputs = [q, k, v * 1024, upstream * 1024]
    found, expected = (f(inputs, lengths, lengths, scale=0.25) for f in (run, exact))
    others = torch.arange(40) != 7
    assert expected[0].abs().max() < 2.0**-10 * inputs[2].abs().max()
    for x, y in ((found[0], expected[0]), (found[3][others], expected[3][others])):
        assert (x - y).abs().max() < 1e-3 * y.abs().max() + SMALLEST


def test_order_and_seed_of_another_dtype_are_refused() -> None:
    q = torch.zeros(4, 2, 8).half()
    at = bounds([4])
    options = (False, 1.0, 0.0, None)
    with pytest.raises(ValueError, match="order is int64, expected int32"):
        attention_device.attention(q, q, q, at, at, torch.tensor([0]), 4, 4, *options)
    with pytest.raises(ValueError, match="seed is int32, expected int64"):
        seed = torch.tensor(3, dtype=torch.int32)
        attention_device.attention(q, q, q, at, at, None, 4, 4, False, 1.0, 0.5, seed)
