"""Attention on a real GPU: the definition's answers, without a wait, captured by graphs.

The definition in float64 is the truth. It draws the documented dropout, so masks are compared too.
"""

from functools import cache
from itertools import accumulate

import pytest
import torch
from gpu import compilations, each_backend, in_graph, no_wait
from torch import Tensor
from torch.nn import functional as F

from vlp_fast import ops

pytestmark = pytest.mark.gpu

F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16
# Each compiles three programs of its own: both causal and not for every dtype and every width.
KINDS = [
    (dtype, width, (place + offset) % 2 == 1)
    for offset, dtype in enumerate((F16, BF16, F32))
    for place, width in enumerate((24, 32, 64, 128))
]
# Around tiles of 128 rows, and a picture of E2E-VLP with its caption.
LENGTHS = (0, 1, 127, 128, 129, 1090)
OTHER_LENGTHS = (3, 1090, 129, 1, 0, 130)
# Root mean square of the error of some rows, relative to that of their values. Rounding weights and
# their gradients as programs do gives up to 1.2e-6, 4.9e-3 and 5.4e-4 on a CPU, and 1.5e-3 in
# float16 for the two or three keys of a short batch.
TOLERANCE = {F32: 1e-5, BF16: 1e-2, F16: 2e-3}
# The same where values are zeros but for float64's rounding: gradients of weights of one key. 8e-6
# on a CPU; with dropout, which no such test has, outputs are rounded and it is 3e-4.
NOTHING, NOISE = 1e-9, 1e-4

backend = each_backend("attention")


@cache
def bounds(lengths: tuple[int, ...]) -> Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32).to("cuda")


def draw(
    lengths: tuple[int, ...], width: int, *, seed: int, dtype: torch.dtype, heads: int = 2
) -> Tensor:
    generator = torch.Generator("cuda").manual_seed(seed)
    shape = (sum(lengths), heads, width)
    return torch.randn(*shape, generator=generator, device="cuda").to(dtype)


def inputs_of(nq, nk, width: int = 64, dtype: torch.dtype = F16) -> list[Tensor]:
    """q, k, v and the gradient that comes in."""
    return [draw(n, width, seed=s, dtype=dtype) for s, n in enumerate((nq, nk, nk, nq))]


def run(inputs: list[Tensor], nq, nk, **options) -> list[Tensor]:
    """Output, and gradients of q, k and v."""
    *leaves, upstream = (x.detach().requires_grad_() for x in inputs)
    longest = {"max_seqlen_q": max(nq), "max_seqlen_k": max(nk)}
    out = ops.attention(*leaves, bounds(nq), bounds(nk), **longest, **options)
    return [out.detach(), *torch.autograd.grad(out, leaves, upstream.detach())]


def exact(inputs: list[Tensor], nq, nk, **options) -> list[Tensor]:
    """The same in float64, which the definition serves on every backend."""
    return run([x.double() for x in inputs], nq, nk, **options)


def rms(x: Tensor) -> float:
    return x.double().square().mean().sqrt().item()


def some_rows(x: Tensor, lengths) -> list[Tensor]:
    """Up to 64 neighbours of a sequence each."""
    return [rows for sequence in x.split(list(lengths)) for rows in sequence.split(64)]


def assert_near(found: list[Tensor], expected: list[Tensor], nq, nk, tolerance: float) -> None:
    """A few rows at a time: those of short sequences, and the first of a causal one, are larger."""
    results = zip(("out", "dq", "dk", "dv"), found, expected, (nq, nq, nk, nk), strict=True)
    for name, x, y, lengths in results:
        assert x.shape == y.shape
        parts = zip(some_rows(x, lengths), some_rows(y, lengths), strict=True)
        for number, (one, truth) in enumerate(parts):
            if len(truth) > 0:
                error, size = rms(one.double() - truth), rms(truth)
                within = tolerance * size if size > NOTHING else NOISE
                assert error <= within, f"part {number} of {name}: {error} beside {size}"


@pytest.mark.parametrize(("dtype", "width", "causal"), KINDS, ids=str)
def test_equals_the_definition_for_every_length(dtype, width, causal) -> None:
    for nq, nk in ((LENGTHS, LENGTHS), (LENGTHS, OTHER_LENGTHS), (OTHER_LENGTHS, LENGTHS)):
        inputs = inputs_of(nq, nk, width, dtype)
        found = run(inputs, nq, nk, causal=causal)
        assert all(x.dtype == dtype for x in found)
        assert_near(found, exact(inputs, nq, nk, causal=causal), nq, nk, TOLERANCE[dtype])


def by_pytorch(inputs: list[Tensor], length: int, causal: bool) -> list[Tensor]:
    """PyTorch's choice of kernel for sequences of one length."""
    heads_first = [x.unflatten(0, (-1, length)).transpose(1, 2) for x in inputs]
    *leaves, upstream = (x.detach().requires_grad_() for x in heads_first)
    out = F.scaled_dot_product_attention(*leaves, is_causal=causal)
    found = [out.detach(), *torch.autograd.grad(out, leaves, upstream.detach())]
    return [x.transpose(1, 2).flatten(0, 1) for x in found]


@pytest.mark.parametrize(("dtype", "width", "causal"), KINDS, ids=str)
def test_error_is_at_most_twice_that_of_pytorch(dtype, width, causal) -> None:
    """Root mean square of the error."""
    lengths = (333,) * 3
    inputs = inputs_of(lengths, lengths, width, dtype)
    ours = run(inputs, lengths, lengths, causal=causal)
    theirs = by_pytorch(inputs, 333, causal)
    truth = exact(inputs, lengths, lengths, causal=causal)
    for x, peer, y in zip(ours, theirs, truth, strict=True):
        error, allowed = x.double() - y, peer.double() - y
        assert error.square().mean().sqrt() <= 2 * allowed.square().mean().sqrt()
        assert error.abs().max() <= 4 * allowed.abs().max()  # one number, and so by chance


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("causal", [False, True])
def test_dropout_is_the_definition_s(dtype, causal) -> None:
    nq, nk = (0, 129, 1, 300), (3, 130, 77, 301)
    inputs = inputs_of(nq, nk, 32, dtype)
    options = {"causal": causal, "dropout_p": 0.3, "seed": torch.tensor(2**40 + 3, device="cuda")}
    found = run(inputs, nq, nk, **options)
    assert_near(found, exact(inputs, nq, nk, **options), nq, nk, TOLERANCE[dtype])
    other = run(inputs, nq, nk, **{**options, "seed": 4})
    assert not torch.equal(other[0], found[0])


def test_the_mask_of_dropout_is_the_same_on_every_backend() -> None:
    """With equal scores and one key a column, a kept weight is all that a number is made of."""
    nq, nk, heads = (300, 7), (128, 128), 2
    q = torch.zeros(sum(nq), heads, 128, dtype=F16, device="cuda")
    v = torch.eye(128, dtype=F16, device="cuda").repeat(2, 1)[:, None].expand(-1, heads, -1)
    k, options = torch.zeros_like(v), {"dropout_p": 0.4, "seed": 7}
    kept = run([q, k, v, q], nq, nk, **options)[0] > 0
    expected = exact([q, k, v, q], nq, nk, **options)[0] > 0
    assert torch.equal(kept, expected)
    assert 0.55 < kept.float().mean().item() < 0.65


def test_an_order_changes_nothing() -> None:
    inputs = inputs_of(LENGTHS, LENGTHS)
    plain = run(inputs, LENGTHS, LENGTHS)
    for order in ([5, 4, 3, 2, 1, 0], [2, 0, 5, 1, 4, 3]):
        ordered = torch.tensor(order, dtype=torch.int32, device="cuda")
        found = run(inputs, LENGTHS, LENGTHS, order=ordered)
        assert all(map(torch.equal, found, plain))


@pytest.mark.parametrize("causal", [False, True])
def test_nan_in_a_neighbour_stays_there(causal) -> None:
    lengths = (100, 29, 1, 130)
    clean = inputs_of(lengths, lengths)
    dirty = [x.clone() for x in clean]
    for x in dirty:
        x[100:129] = torch.nan
    others = torch.tensor([*range(100), *range(129, 260)], device="cuda")
    options = {"causal": causal, "dropout_p": 0.2, "seed": 1}
    found = (run(inputs, lengths, lengths, **options) for inputs in (clean, dirty))
    for a, b in zip(*found, strict=True):
        assert torch.equal(a[others], b[others])
        assert b[100:129].isnan().all()


def test_one_projection_is_its_parts() -> None:
    nq, nk = (0, 129, 1, 300), (3, 130, 77, 301)
    q, k, v, upstream = inputs_of(nq, nk)
    options = {"dropout_p": 0.3, "seed": 4}
    parts = run([q, k, v, upstream], nq, nk, **options)
    q, kv = q.requires_grad_(), torch.stack((k, v), 1).requires_grad_()
    longest = {"max_seqlen_q": 300, "max_seqlen_k": 301}
    out = ops.attention_kvpacked(q, kv, bounds(nq), bounds(nk), **longest, **options)
    of_q, of_kv = torch.autograd.grad(out, (q, kv), upstream)
    assert all(map(torch.equal, (out, of_q, *of_kv.unbind(1)), parts))

    inputs = inputs_of(nk, nk)
    parts = run(inputs, nk, nk, **options)
    qkv = torch.stack(inputs[:3], 1).requires_grad_()
    out = ops.attention_qkvpacked(qkv, bounds(nk), max_seqlen=301, **options)
    (of_qkv,) = torch.autograd.grad(out, qkv, inputs[3])
    assert all(map(torch.equal, (out, *of_qkv.unbind(1)), parts))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_never_waits(dtype) -> None:
    inputs = inputs_of(LENGTHS, OTHER_LENGTHS, dtype=dtype)
    expected = run(inputs, LENGTHS, OTHER_LENGTHS, dropout_p=0.1, seed=3)  # the first call compiles
    with no_wait():
        run(inputs, LENGTHS, OTHER_LENGTHS, dropout_p=0.1)  # draws a seed
        found = run(inputs, LENGTHS, OTHER_LENGTHS, dropout_p=0.1, seed=3)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("causal", [False, True])
def test_the_same_bits_again_and_where_determinism_is_asked_for(causal) -> None:
    """PyTorch then fills memory that it hands out with NaN: nothing of it may be read."""
    lengths = (700, 0, 1, 1090, 333) * 4
    inputs = inputs_of(lengths, lengths)
    options = {"causal": causal, "dropout_p": 0.1, "seed": 3}
    first = run(inputs, lengths, lengths, **options)
    for is_deterministic in (False, True, True):
        torch.use_deterministic_algorithms(is_deterministic)
        try:
            again = run(inputs, lengths, lengths, **options)
        finally:
            torch.use_deterministic_algorithms(False)
        assert all(map(torch.equal, again, first))


@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
def test_a_graph_replays_with_other_contents(dropout_p) -> None:
    lengths = (70, 0, 301, 129)
    inputs, at = inputs_of(lengths, lengths), bounds(lengths).clone()
    order = torch.tensor([2, 3, 0, 1], dtype=torch.int32, device="cuda")
    seed = torch.zeros((), dtype=torch.int64, device="cuda")

    def step() -> list[Tensor]:
        *leaves, upstream = (x.detach().requires_grad_() for x in inputs)
        options = {"dropout_p": dropout_p, "seed": seed, "order": order}
        out = ops.attention(*leaves, at, at, max_seqlen_q=320, max_seqlen_k=320, **options)
        return [out, *torch.autograd.grad(out, leaves, upstream.detach())]

    graph, found = in_graph(step)
    for number, (others, begin) in enumerate(
        (((301, 70, 129, 0), [0, 2, 1, 3]), (lengths, [*range(4)]))
    ):
        for place, x in enumerate(inputs):
            x.copy_(draw(lengths, 64, seed=10 * number + place, dtype=F16))
        at.copy_(bounds(others))
        order.copy_(torch.tensor(begin, device="cuda"))
        seed.fill_(5 + number)
        graph.replay()
        wanted = exact(inputs, others, others, dropout_p=dropout_p, seed=5 + number)
        assert_near([x.detach() for x in found], wanted, others, others, TOLERANCE[F16])
        assert all(map(torch.equal, found, step()))


def test_a_hundred_batches_compile_nothing_new() -> None:
    batches = [(1 + 9 * i, (37 * i) % 211, 16)[: 1 + i % 3] for i in range(100)]
    inputs = [inputs_of(lengths, lengths) for lengths in batches]
    for lengths in ((1,), (16, 16), (300, 5, 7)):  # numbers that a compiler may treat on their own
        run(inputs_of(lengths, lengths), lengths, lengths)
    for lengths in batches:
        bounds(lengths)
    compiled = compilations()
    with no_wait():
        found = [run(x, n, n) for x, n in zip(inputs, batches, strict=True)]
    assert compilations() == compiled
    for x, n, one in zip(inputs, batches, found, strict=True):
        assert_near(one, exact(x, n, n), n, n, TOLERANCE[F16])


def test_offsets_beyond_32_bits() -> None:
    """More than 2^31 numbers of q, k and v: the last sequences are those of a small batch."""
    if torch.cuda.mem_get_info()[0] < 24 * 2**30:
        pytest.skip("needs 24 GiB of memory")
    heads, width, length = 16, 128, 64
    sequences = 2**31 // (3 * heads * width * length) + 8
    shape = (sequences * length, 3, heads, width)
    qkv = torch.empty(shape, dtype=F16, device="cuda").normal_().requires_grad_()
    assert qkv.numel() > 2**31
    few = qkv.detach()[-3 * length :].clone().requires_grad_()
    results = []
    for x, number in ((qkv, sequences), (few, 3)):
        out = ops.attention_qkvpacked(x, bounds((length,) * number), max_seqlen=length)
        (grad,) = torch.autograd.grad(out.square().sum(dtype=F32), x)
        results.append((out.detach()[-3 * length :], grad[-3 * length :]))
    assert all(map(torch.equal, *results))
