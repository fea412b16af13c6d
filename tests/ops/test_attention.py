"""Packed attention against dense float64 attention of each sequence, values and gradients."""

import pytest
import torch
from dense_attention import bounds, dense, packed, rows
from torch import Tensor

from vlp_fast import ops
from vlp_fast.reference import attention as reference

pytestmark = pytest.mark.usefixtures("attention_backend")

# Largest difference to float64, in units of values of about 1.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 3e-2, torch.float16: 4e-3}

LENGTHS = {
    "one token": ([1], [1]),
    "all text": ([5, 3, 8, 1], [5, 3, 8, 1]),
    "equal": ([4, 4, 4], [4, 4, 4]),
    "cross": ([3, 7, 1, 2], [6, 1, 9, 4]),
    "no keys": ([3, 2], [4, 0]),
    "no queries": ([0, 2, 0], [3, 5, 1]),
    "prime": ([67, 13], [67, 13]),
}


def compare(nq, nk, dtype=torch.float32, tolerance=None, keep=None, dense_options=(), **options):
    inputs = [rows(n, seed=s, dtype=dtype) for s, n in enumerate((nq, nk, nk))]
    ours = [x.clone().requires_grad_() for x in inputs]
    exact = [x.double().requires_grad_() for x in inputs]
    out = packed(*ours, nq, nk, **options)
    expected = dense(*exact, nq, nk, keep=keep, **dict(dense_options or options))
    upstream = rows(nq, seed=9, dtype=dtype)
    out.backward(upstream)
    expected.backward(upstream.double())
    assert out.dtype == dtype
    tolerance = TOLERANCE[dtype] if tolerance is None else tolerance
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)
    for x, y in zip(ours, exact, strict=True):
        torch.testing.assert_close(x.grad.double(), y.grad, rtol=tolerance, atol=3 * tolerance)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("causal", [False, True])
def test_equals_dense_attention_of_each_sequence(lengths, causal) -> None:
    nq, nk = LENGTHS[lengths]
    compare(nq, nk, causal=causal)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_dtype(dtype) -> None:
    compare([5, 3, 8, 1], [6, 3, 2, 7], dtype=dtype, scale=0.5)


@pytest.mark.parametrize(("nq", "nk"), [([3, 2], [0, 0]), ([0, 0], [3, 2]), ([0], [0])])
def test_nothing_to_see_gives_zeros(nq, nk) -> None:
    q, k, v = (rows(n, seed=s).requires_grad_() for s, n in enumerate((nq, nk, nk)))
    out = packed(q, k, v, nq, nk, dropout_p=0.5)
    out.sum().backward()
    assert torch.equal(out, torch.zeros_like(q))
    assert all((x.grad == 0).all() for x in (q, k, v))


def test_max_seqlen_may_be_larger() -> None:
    q, k, v = (rows([4, 2], seed=s) for s in range(3))
    at = bounds([4, 2])
    out = ops.attention(q, k, v, at, at, max_seqlen_q=9, max_seqlen_k=11)
    torch.testing.assert_close(out, packed(q, k, v, [4, 2], [4, 2]), rtol=1e-6, atol=1e-6)


def test_causal_with_more_keys_is_the_end_of_the_square() -> None:
    k, v = rows([9], seed=1), rows([9], seed=2)
    q = rows([9], seed=0)
    whole = packed(q, k, v, [9], [9], causal=True)
    last = packed(q[-4:], k, v, [4], [9], causal=True)
    torch.testing.assert_close(last, whole[-4:], rtol=1e-6, atol=1e-6)


def test_text_with_a_grid_of_one_cell() -> None:
    grid = ops.make_grid([(1, 1), (2, 3)], (2, 3))
    packing = ops.make_packing([4, 1], [0, 1], grid)
    compare(list(packing.lengths), list(packing.lengths))


def test_nan_in_a_neighbour_reaches_neither_values_nor_gradients() -> None:
    lengths = [3, 6, 2]
    clean = [rows(lengths, seed=s) for s in range(3)]
    dirty = [x.clone() for x in clean]
    for x in dirty:
        x[3:9] = torch.nan
    outs = []
    for inputs in (clean, dirty):
        leaves = [x.requires_grad_() for x in inputs]
        out = packed(*leaves, lengths, lengths)
        out.backward(rows(lengths, seed=5))
        outs.append([out.detach(), *(x.grad for x in leaves)])
    keep = torch.tensor([0, 1, 2, 9, 10])
    for a, b in zip(*outs, strict=True):
        assert torch.equal(a[keep], b[keep])
    assert outs[1][0][3:9].isnan().all()


def test_rows_do_not_depend_on_batch_mates() -> None:
    nq, nk = [3, 7, 1, 2], [6, 1, 9, 4]
    q, k, v = rows(nq, seed=0), rows(nk, seed=1), rows(nk, seed=2)
    out = packed(q, k, v, nq, nk)
    alone = packed(q[3:10], k[6:7], v[6:7], [7], [1])
    torch.testing.assert_close(out[3:10], alone, rtol=1e-6, atol=1e-6)


def test_expanded_gradient_and_strided_inputs() -> None:
    lengths = [5, 3]
    fused = torch.randn(8, 3, 3, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    packed(*fused.unbind(1), lengths, lengths).sum().backward()
    exact = fused.detach().double().requires_grad_()
    dense(*exact.unbind(1), lengths, lengths).sum().backward()
    torch.testing.assert_close(fused.grad.double(), exact.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_one_projection_is_its_parts(causal) -> None:
    nq, nk = [3, 7, 1], [6, 1, 9]
    options = {"causal": causal, "dropout_p": 0.3, "seed": 4}
    qkv = torch.stack([rows(nk, seed=s) for s in range(3)], 1).requires_grad_()
    out = ops.attention_qkvpacked(qkv, bounds(nk), max_seqlen=9, **options)
    expected = packed(*qkv.unbind(1), nk, nk, **options)
    same_values_and_gradients(out, expected, [qkv])
    q, kv = rows(nq, seed=3).requires_grad_(), qkv.detach()[:, 1:].requires_grad_()
    at = (bounds(nq), bounds(nk))
    out = ops.attention_kvpacked(q, kv, *at, max_seqlen_q=7, max_seqlen_k=9, **options)
    same_values_and_gradients(out, packed(q, *kv.unbind(1), nq, nk, **options), [q, kv])


def same_values_and_gradients(out: Tensor, expected: Tensor, leaves: list[Tensor]) -> None:
    assert torch.equal(out, expected)
    upstream = torch.randn_like(out)
    ours = torch.autograd.grad(out, leaves, upstream)
    theirs = torch.autograd.grad(expected, leaves, upstream)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)


def test_an_order_changes_nothing() -> None:
    lengths, results = [3, 37, 1], []
    upstream = rows(lengths, seed=3)
    for order in (None, torch.tensor([1, 0, 2], dtype=torch.int32)):
        leaves = [rows(lengths, seed=s).requires_grad_() for s in range(3)]
        out = packed(*leaves, lengths, lengths, order=order, dropout_p=0.3, seed=5)
        results.append([out, *torch.autograd.grad(out, leaves, upstream)])
    for plain, ordered in zip(*results, strict=True):
        assert torch.equal(plain, ordered)


def test_dropout_draws_a_seed_of_the_generator() -> None:
    q, k, v = (rows([40], seed=s) for s in range(3))
    torch.manual_seed(3)
    first, second = (packed(q, k, v, [40], [40], dropout_p=0.5) for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(packed(q, k, v, [40], [40], dropout_p=0.5), first)
    assert not torch.equal(first, second)


def test_gradcheck() -> None:
    inputs = [rows(n, seed=s, dtype=torch.float64) for s, n in enumerate(([3, 2], [2, 4], [2, 4]))]
    leaves = [x[:, :2, :3].clone().requires_grad_() for x in inputs]
    function = lambda q, k, v: packed(q, k, v, [3, 2], [2, 4], causal=True, dropout_p=0.3, seed=4)
    assert torch.autograd.gradcheck(function, leaves)


def scalar_hash(seed: int, sequence: int, head: int, i: int, j: int) -> int:
    """The hash of the docstring, one number at a time; returns the int16."""

    def mix(x: int) -> int:
        x = (x ^ (x >> 16)) * 0x85EBCA6B % 2**32
        x = (x ^ (x >> 13)) * 0xC2B2AE35 % 2**32
        return x ^ (x >> 16)

    h = seed % 2**32
    for counter in (sequence, head, i, j // 2):
        h = mix((h + counter * 0x9E3779B9) % 2**32)
    half = h >> 16 if j % 2 else h & 0xFFFF
    return half - 2**16 if half >= 2**15 else half


@pytest.mark.parametrize("seed", [0, 7, 2**40 + 3])
def test_dropout_is_the_documented_hash(seed) -> None:
    nq, nk, p = [3, 5], [7, 4], 0.4
    keep = [
        torch.tensor(
            [
                [
                    [
                        scalar_hash(seed, s, n, i, j) >= round(p * 65536) - 32768
                        for j in range(nk[s])
                    ]
                    for i in range(nq[s])
                ]
                for n in range(3)
            ]
        ).double()
        / (1 - p)
        for s in range(2)
    ]
    options = {"dropout_p": p, "seed": seed}
    compare(nq, nk, keep=keep, dense_options={"causal": False}, tolerance=1e-5, **options)


def test_dropout_keeps_the_right_share_and_differs_by_seed_head_and_row() -> None:
    length = 200
    q = torch.zeros(length, 2, length)
    v = torch.eye(length)[:, None].expand(length, 2, length)
    masks = [packed(q, q, v, [length], [length], dropout_p=0.1, seed=s) > 0 for s in (0, 1)]
    again = packed(q, q, v, [length], [length], dropout_p=0.1, seed=0) > 0
    assert torch.equal(masks[0], again)
    for mask in masks:
        assert abs(mask.float().mean().item() - 0.9) < 0.004
        # Shares of rows and columns scatter as those of independent draws do.
        for axis in (0, 2):
            assert mask.float().mean(axis).std().item() < 1.3 * (0.09 / length) ** 0.5
    rare = packed(q, q, v, [length], [length], dropout_p=1 - 2**-16, seed=0)
    assert (rare > 0).sum() <= 8  # 1.2 expected
    both = (masks[0] & masks[1]).float().mean().item()
    assert abs(both - 0.81) < 0.006
    heads = (masks[0][:, 0] & masks[0][:, 1]).float().mean().item()
    assert abs(heads - 0.81) < 0.008
    following = (masks[0][:-1] & masks[0][1:]).float().mean().item()
    assert abs(following - 0.81) < 0.006


def test_parts_make_no_difference(monkeypatch) -> None:
    lengths, results = [5, 3, 8, 1, 6], []
    for scores in (2**18, 1, 400):
        monkeypatch.setitem(reference._SCORES_AT_A_TIME, "cpu", scores)
        leaves = [rows(lengths, seed=s).requires_grad_() for s in range(3)]
        out = packed(*leaves, lengths, lengths, causal=True, dropout_p=0.5, seed=3)
        out.backward(rows(lengths, seed=4))
        results.append([out.detach(), *(x.grad for x in leaves)])
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-5, atol=1e-6)


def test_autocast_casts_operands_and_not_the_inside() -> None:
    q, k, v = (rows([6, 4], seed=s).requires_grad_() for s in range(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = packed(q, k.bfloat16(), v, [6, 4], [6, 4])
    assert out.dtype == torch.bfloat16
    direct = packed(*(x.detach().bfloat16() for x in (q, k, v)), [6, 4], [6, 4])
    assert torch.equal(out, direct)
    out.sum().backward()
    assert q.grad.dtype == torch.float32


def test_large_scores_do_not_overflow() -> None:
    q, k, v = (rows([6], seed=s) for s in range(3))
    out = packed(q * 1e4, k * 1e3, v, [6], [6])
    expected = dense(q.double() * 1e4, k.double() * 1e3, v, [6], [6])
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)


def test_log_sum_exps_of_rows_without_keys_are_infinite() -> None:
    q, k = rows([3, 2], seed=0), rows([4], seed=1)
    operands = (q, k, k, bounds([3, 2]), bounds([4, 0]), None, 3, 4, False, 1.0, 0.0, None)
    lse = torch.ops.vlp_fast.attention(*operands)[1]
    scores = torch.einsum("ine,jne->nij", q[:3].double(), k.double())
    torch.testing.assert_close(lse[:, :3].double(), scores.logsumexp(-1), rtol=1e-5, atol=1e-5)
    assert (lse[:, 3:] == torch.inf).all()


def test_results_are_dense_whatever_the_sequences() -> None:
    """As compiled graphs expect them, and the other backends' backward passes."""
    for lengths in ([7], [3, 4], [4, 4]):
        q = rows(lengths, seed=0)
        assert packed(q, q, q, lengths, lengths, dropout_p=0.1).is_contiguous()


def test_bounds_and_order_with_gaps() -> None:
    q, k = rows([13, 27], seed=0), rows([20, 20], seed=1)
    both = torch.tensor([[0, 0], [13, 20], [40, 40]], dtype=torch.int32)
    order = torch.tensor([[1, 9], [0, 9]], dtype=torch.int32)
    lengths = {"max_seqlen_q": 27, "max_seqlen_k": 20}
    found = ops.attention(q, k, k, both[:, 0], both[:, 1], order=order[:, 0], **lengths)
    assert torch.equal(found, packed(q, k, k, [13, 27], [20, 20], order=torch.tensor([1, 0]).int()))
