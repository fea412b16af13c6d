"""What is particular to the native dictionary on the CPU: operands, chunks, threads, memory."""

from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor

from vlp_fast import native, ops
from vlp_fast.ops import dictionary_host as host

pytestmark = pytest.mark.skipif(native.extension() is None, reason="no native code")

DTYPES = [torch.float32, torch.bfloat16]
PRODUCTS = [(torch.float32, False), (torch.float32, True), (torch.bfloat16, False)]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def natively() -> Iterator[None]:
    """Every operator on the native code, and as many threads afterwards as before."""
    threads = torch.get_num_threads()
    with ops.use("cpp"):
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def products_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[torch.dtype], None]:
    """products_in(dtype): the search multiplies in this one, whatever the CPU."""
    return lambda dtype: monkeypatch.setattr(host, "operand_dtype", lambda: dtype)


def by_definition(x: Tensor, codes: Tensor) -> Tensor:
    with ops.use("reference"):
        return ops.nearest_code(x, codes)


def hostile(kind: str) -> tuple[Tensor, Tensor]:
    """Rows and codes of which products alone decide few."""
    x, codes = draw(150, 40), draw(333, 40, seed=1)
    if kind == "pairs":
        return x, torch.cat((codes, codes + 1e-5 * draw(333, 40, seed=2)))
    if kind == "equal":
        return x, codes[:1].repeat(333, 1)
    if kind == "far":
        return x + 1000, 1e-2 * codes + 1000
    if kind == "huge":
        return 1e30 * x, 1e30 * codes
    if kind == "tiny":
        signs = codes.sign()
        return 1e-25 * x, signs
    if kind == "last":  # the nearest is behind the last whole vector
        codes[-1] = 0
        return 0.1 * x, codes
    return x, codes


KINDS = ["plain", "pairs", "equal", "far", "huge", "tiny", "last"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "is_own"), PRODUCTS)
def test_every_product_is_exact_enough(monkeypatch, products_in, kind, dtype, is_own) -> None:
    products_in(dtype)
    monkeypatch.setattr(host, "_multiplies_here", lambda _: is_own)
    x, codes = hostile(kind)
    indices = ops.nearest_code(x, codes)
    assert torch.equal(indices, by_definition(x, codes))


@pytest.mark.parametrize(("dtype", "is_own"), PRODUCTS)
@pytest.mark.parametrize("chunk", [1, 7, 64, 149, 150, 151])
def test_chunks_make_no_difference(monkeypatch, products_in, dtype, is_own, chunk) -> None:
    products_in(dtype)
    monkeypatch.setattr(host, "_multiplies_here", lambda _: is_own)
    x, codes = draw(150, 24), draw(77, 24, seed=1)
    monkeypatch.setattr(host, "rows_per_chunk", lambda *_: chunk)
    valid = torch.arange(150) % 7 != 3
    x[20] = torch.nan
    found = ops.nearest_code(x, codes, valid, excluded=-1)
    with ops.use("reference"):
        assert torch.equal(found, ops.nearest_code(x, codes, valid, excluded=-1))


def test_buffers_stay_small() -> None:
    shape = torch.Size((2048, 768))
    assert host.rows_per_chunk(shape, 2) == 256
    assert host.rows_per_chunk(shape, 1000) * 2048 <= host.MOST_NUMBERS
    assert host.rows_per_chunk(torch.Size((100_000, 8)), 1) == host.FEWEST_ROWS
    assert host.rows_per_chunk(torch.Size((8, 100_000)), 1) == host.FEWEST_ROWS


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_does_not_grow_with_the_rows(products_in, dtype) -> None:
    products_in(dtype)
    codes = draw(512, 8, seed=1)

    def most(rows: int) -> int:
        x = draw(rows, 8)
        with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
            ops.nearest_code(x, codes)
        allocated = (event.self_cpu_memory_usage for event in profile.key_averages())
        return sum(size for size in allocated if size > 0) - 8 * rows

    assert most(8192) <= most(4096) + 4096


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_nothing_of_the_search(monkeypatch, products_in, dtype) -> None:
    products_in(dtype)
    codes = draw(2000, 30, seed=1)
    x = torch.cat((draw(1500, 30), codes[:7] + codes[7:14]))
    monkeypatch.setattr(host, "rows_per_chunk", lambda *_: 2000)
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(ops.nearest_code(x, codes))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], by_definition(x, codes))


@pytest.mark.parametrize("is_skewed", [False, True])
def test_threads_change_no_bit_of_the_statistics(extension: ModuleType, is_skewed) -> None:
    x = draw(9000, 300) * torch.logspace(-4, 4, 9000)[:, None]
    indices = torch.randint(-1, 50, (9000,))
    indices[is_skewed * 700 :: 2] = 49
    x[5000] = torch.inf
    buffers = [torch.full((50 * 301 + 1,), torch.nan) for _ in range(4)]
    for threads, buffer in enumerate(buffers, start=1):
        extension.code_statistics(x, indices, 50, None, True, buffer, threads)
    assert buffers[0].isfinite().all()
    assert buffers[0][-1] == 1
    for buffer in buffers[1:]:
        assert torch.equal(buffer, buffers[0])
    for code in (0, 49):
        rows = x[(indices == code) & x.isfinite().all(1)].double()
        exact = rows.sum(0)
        error = (buffers[0][code * 300 : code * 300 + 300].double() - exact).abs()
        assert (error <= 2**-24 * exact.abs() + 1e-12 * rows.abs().sum(0)).all()
        assert buffers[0][50 * 300 + code] == len(rows)


@pytest.mark.parametrize("is_official", [False, True])
def test_threads_change_no_bit_of_the_averages(is_official) -> None:
    results = []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        codes, sums = draw(3000, 1100), draw(3000, 1100, seed=1)
        counts = torch.arange(3000.0) % 5
        if is_official:
            averages = codes.clone(), torch.ones(3000)
            ops.laplace_ema_update(codes, *averages, sums, counts, momentum=0.4)
        else:
            ops.ema_update(codes, sums, counts, momentum=0.9)
        results.append(codes)
    assert torch.equal(*results)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_is_pytorchs(dtype) -> None:
    exponents = torch.arange(-149.0, 128.0).exp2()
    values = torch.cat([exponents * factor for factor in (1, 1 + 2**-8, 1.9999, 1.00049)])
    values = torch.cat((values, -values, torch.zeros(1)))[None].clone()
    largest = torch.finfo(dtype).max
    operand, _ = host.prepare_codes(values, torch.zeros(values.shape[1]), dtype)
    assert torch.equal(operand, values.clamp(-largest, largest).to(dtype))


def test_codes_for_other_products_are_refused() -> None:
    with pytest.raises(ValueError, match="prepare_codes: operand is float16, expected bfloat16 or"):
        host.prepare_codes(draw(3, 4), draw(4, seed=1), torch.float16)


def test_rows_of_any_dtype_are_centred_alike(extension: ModuleType) -> None:
    centre = draw(37, seed=1)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = draw(37, 20).to(dtype).T
        for source in (x, x.contiguous()):
            operand, bounds = torch.empty(20, 37, dtype=torch.bfloat16), torch.empty(20, 2)
            extension.centre_rows(source, centre, operand, bounds, 1)
            shifted = x.float() - centre
            assert torch.equal(operand, shifted.bfloat16())
            exact = x.double() - centre.double()
            norm, lost = operand.double().norm(dim=1), (exact - operand.double()).norm(dim=1)
            assert (bounds[:, 0] >= norm).all()
            assert (bounds[:, 0] <= 1.001 * norm).all()
            assert (bounds[:, 1] >= lost).all()
            assert (bounds[:, 1] <= 1.01 * lost).all()


SHAPES = [
    (1, 1, 1),
    (3, 5, 0),
    (0, 4, 3),
    (31, 7, 17),
    (32, 8, 16),
    (33, 9, 15),
    (65, 511, 40),
    (40, 513, 3),
    (300, 1025, 64),
]


@pytest.mark.parametrize(("rows", "codes", "width"), SHAPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_own_products_of_integers_are_exact(
    extension: ModuleType, rows, codes, width, threads
) -> None:
    x, others = (8 * draw(rows, width)).round(), (8 * draw(codes, width, seed=1)).round()
    beyond = torch.full((rows * codes + 64,), -7.5)
    products = beyond[: rows * codes].view(rows, codes)
    extension.multiply_rows(x, others, products, threads)
    assert torch.equal(products.double(), x.double() @ others.double().T)
    assert (beyond[rows * codes :] == -7.5).all()


def test_own_products_depend_on_one_row_only(extension: ModuleType) -> None:
    x, codes = draw(200, 100), draw(600, 100, seed=1)
    together, alone, beside = torch.empty(200, 600), torch.empty(1, 600), torch.empty(200, 600)
    extension.multiply_rows(x, codes, together, 2)
    extension.multiply_rows(x[77:78], codes, alone, 1)
    assert torch.equal(alone[0], together[77])
    x[78], x[76] = torch.nan, torch.inf
    extension.multiply_rows(x, codes, beside, 1)
    others = torch.arange(200).sub(77).abs() != 1
    assert torch.equal(beside[others], together[others])
    assert beside[78].isnan().all()


def test_own_products_refuse_other_operands(extension: ModuleType) -> None:
    x, codes, products = draw(4, 6), draw(5, 6), torch.empty(4, 5)
    for wrong in ((x.bfloat16(), codes, products), (x, codes[:, :5], products)):
        with pytest.raises((ValueError, TypeError), match="multiply_rows"):
            extension.multiply_rows(*wrong, 1)
    with pytest.raises(ValueError, match="multiply_rows"):
        extension.multiply_rows(x, codes, products.T, 1)


def test_the_native_product_is_taken_of_float32_only(
    monkeypatch, products_in, extension: ModuleType
) -> None:
    taken = []
    monkeypatch.setattr(extension, "multiplies_single", lambda: True)
    monkeypatch.setattr(extension, "multiply_rows", lambda *given: taken.append(given[0].dtype))
    x, codes = draw(3, 8), draw(5, 8, seed=1)
    for dtype in DTYPES:
        products_in(dtype)
        ops.nearest_code(x, codes)
    assert taken == [torch.float32]


def test_products_that_pytorch_may_round_are_not_trusted(monkeypatch, products_in) -> None:
    products_in(torch.float32)
    x, codes = draw(200, 64), draw(300, 64, seed=1)
    exact = torch.mm

    def rounded(rows: Tensor, others: Tensor, out: Tensor) -> Tensor:
        return exact(rows.bfloat16().float(), others.bfloat16().float(), out=out)

    monkeypatch.setattr(host, "_multiplies_here", lambda _: False)
    monkeypatch.setattr(torch, "mm", rounded)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    assert torch.equal(ops.nearest_code(x, codes), by_definition(x, codes))


def test_an_index_beyond_the_codes_is_refused() -> None:
    for index in (5, 6, 2**40):
        with pytest.raises(ValueError, match=f"code_statistics: index {index}, expected below 5"):
            ops.code_statistics(draw(2, 3), torch.tensor([0, index]), 5)


def test_operands_are_what_the_cpu_multiplies(monkeypatch, extension: ModuleType) -> None:
    is_half = extension.multiplies_brain()
    assert host.operand_dtype() == (torch.bfloat16 if is_half else torch.float32)
    monkeypatch.setattr(native, "extension", lambda: None)
    assert host.operand_dtype() == torch.float32


def test_a_score_that_overflows_rules_no_code_out(extension: ModuleType) -> None:
    products, bounds = torch.tensor([[-3e38, -2e38]]), torch.tensor([[0.0, 1e38]])
    terms = torch.tensor([[0.0, 2e38], [0, 0], [0, 0], [0, 2]])
    x, codes, found = torch.tensor([[1.0]]), torch.tensor([[3.0], [1.0]]), torch.tensor([-1])
    extension.decide_rows(products, bounds, x, codes, terms, None, 0, 0.0, found, 1)
    assert found.tolist() == [1]
