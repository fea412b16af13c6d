"""The dictionary on a real GPU: the definition's answers, without a wait, captured by graphs."""

import pytest
import torch
from gpu import compilations, each_backend, in_graph, no_wait
from torch import Tensor

from vlp_fast import ops

pytestmark = pytest.mark.gpu

DTYPES = [torch.float32, torch.bfloat16, torch.float16]

backend = each_backend("nearest_code")


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator("cuda").manual_seed(seed)
    return torch.randn(*shape, generator=generator, device="cuda").to(dtype)


def expected(x: Tensor, codes: Tensor, valid: Tensor | None = None, **options: int) -> Tensor:
    with ops.use("reference"):
        return ops.nearest_code(x, codes, valid, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "num_codes", "width"), [(4099, 2048, 768), (1000, 37, 50), (257, 1025, 1), (0, 5, 8)]
)
def test_nearest_is_the_definitions(rows, num_codes, width, dtype) -> None:
    x, codes = draw(rows, width, dtype=dtype), draw(num_codes, width, seed=1)
    ops.nearest_code(x, codes)  # the first call may compile
    with no_wait():
        found = ops.nearest_code(x, codes)
    assert torch.equal(found, expected(x, codes))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_rows_in_doubt(scale, dtype) -> None:
    """Codes that half precision does not tell apart, and dead ones, of which there are many."""
    codes = 3 + draw(500, 96, seed=1)
    codes = scale * torch.cat((codes, codes + 1e-5 * draw(500, 96, seed=2), codes, codes))
    codes[100:300] = 0
    x = (scale * (3 + draw(3000, 96, seed=3))).to(dtype)
    x[::5] *= 1e-3
    with no_wait():
        found = ops.nearest_code(x, codes)
    assert torch.equal(found, expected(x, codes))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_left_out_and_strides(dtype) -> None:
    x, codes = draw(300, 2000, dtype=dtype).T[::2], draw(700, 300, seed=1)
    x[7], x[9, 3] = torch.nan, torch.inf
    valid = (torch.arange(2000, device="cuda") % 3 > 0)[::2]
    with no_wait():
        found = ops.nearest_code(x, codes, valid, excluded=-1)
    assert torch.equal(found, expected(x, codes, valid, excluded=-1))
    one = draw(1, 300, dtype=dtype).expand(777, 300)
    assert torch.equal(ops.nearest_code(one, codes), expected(one, codes))


def test_more_than_two_to_the_31_numbers() -> None:
    rows = 2**31 // 1024 + 100
    if torch.cuda.mem_get_info()[0] < 6 * 2**30:
        pytest.skip("needs 6 GiB of memory")
    x = torch.empty(rows, 1024, dtype=torch.float16, device="cuda").normal_()
    codes = draw(64, 1024, seed=1)
    found = ops.nearest_code(x, codes)
    for part in (slice(0, 300), slice(rows - 300, rows)):
        assert torch.equal(found[part], expected(x[part], codes))
    statistics = ops.code_statistics(x, found, 64)
    assert statistics.counts.sum() == rows
    last = torch.zeros_like(found).index_fill_(0, torch.tensor([rows - 1], device="cuda"), 1) - 1
    assert torch.equal(ops.code_statistics(x, last, 1).sums[0], x[-1].float())


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_collapsed", [False, True])
def test_statistics_are_the_definitions(is_collapsed, dtype, deterministic) -> None:
    x = draw(9001, 130, dtype=dtype)
    x[5, 7] = torch.nan
    indices = torch.randint(-1, 300, (9001,), device="cuda") * (0 if is_collapsed else 1)
    valid = torch.arange(9001, device="cuda") % 7 > 0
    with ops.use("reference"):
        wanted = ops.code_statistics(x, indices, 300, valid)
    with no_wait():
        options = {"deterministic": deterministic}
        found = ops.code_statistics(x, indices, 300, valid, **options)
    assert torch.equal(found.counts, wanted.counts)
    assert found.non_finite == wanted.non_finite == 1
    torch.testing.assert_close(found.sums, wanted.sums, rtol=1e-4, atol=2e-3)
    if deterministic:
        again = [ops.code_statistics(x, indices, 300, valid).buffer for _ in range(5)]
        assert all(torch.equal(buffer, found.buffer) for buffer in again)


@pytest.mark.parametrize("is_official", [False, True])
def test_moving_averages_are_the_definitions(is_official) -> None:
    x = draw(5000, 96)
    indices = torch.randint(0, 200, (5000,), device="cuda")

    def update() -> list[Tensor]:
        codes = draw(257, 96, seed=1)
        state = [codes, codes.clone(), torch.ones(257, device="cuda")]
        found = ops.code_statistics(x, indices, 257)
        with no_wait():
            if is_official:
                ops.laplace_ema_update(*state, *found[:2], momentum=0.4)
            else:
                ops.ema_update(codes, *found[:2], momentum=0.4)
        return state

    update()
    with ops.use("reference"):
        wanted = update()
    for one, other in zip(update(), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_graph_replays_with_other_rows() -> None:
    """A whole step: search, statistics, update. Replays see what the tensors hold by then."""
    x, codes = draw(3000, 64), draw(300, 64, seed=1)
    indices = torch.empty(3000, dtype=torch.int64, device="cuda")

    def step() -> None:
        indices.copy_(ops.nearest_code(x, codes, excluded=-1))
        found = ops.code_statistics(x, indices, 300, check_finite=False)
        ops.ema_update(codes, found.sums, found.counts, momentum=0.9)

    graph, _ = in_graph(step)
    for seed in (5, 6):
        x.copy_(draw(3000, 64, seed=seed))
        x[seed::100] = x[seed]  # and some rows in doubt: codes come to lie on one another
        codes[10:20] = codes[5]
        before = codes.clone()
        graph.replay()
        assert torch.equal(indices, expected(x, before))
        with ops.use("reference"):
            found = ops.code_statistics(x, indices, 300)
            ops.ema_update(before, found.sums, found.counts, momentum=0.9)
        torch.testing.assert_close(codes, before, rtol=1e-5, atol=1e-5)


def test_a_hundred_numbers_of_rows_compile_nothing_new() -> None:
    codes = draw(300, 64, seed=1)
    x = draw(2000, 64)
    sizes = [1 + 19 * i for i in range(100)]
    for rows in (1, 2, 16, 1000):  # numbers that a compiler may treat on their own
        ops.code_statistics(x[:rows], ops.nearest_code(x[:rows], codes), 300)
    compiled = compilations()
    with no_wait():
        found = [ops.nearest_code(x[:rows], codes) for rows in sizes]
        sums = [
            ops.code_statistics(x[:rows], indices, 300).counts
            for rows, indices in zip(sizes, found, strict=True)
        ]
    assert compilations() == compiled
    whole = expected(x, codes)
    for rows, indices, counts in zip(sizes, found, sums, strict=True):
        assert torch.equal(indices, whole[:rows])
        assert counts.sum() == rows
