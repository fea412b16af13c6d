"""What the dictionary is compared with: each way is right, and each part of a wrong one is seen."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from vector_quantize_pytorch import VectorQuantize

from vlp_fast import VectorQuantize as OurLayer
from vlp_fast.benchmarks import codebook_steps as steps
from vlp_fast.benchmarks import dictionary, nearest
from vlp_fast.benchmarks.case import Setting
from vlp_fast.benchmarks.nearest import EXACT, FINE, ROUGH, Rows

X, CODES = torch.randn(2, 300, 16, generator=torch.Generator().manual_seed(0)).unbind()
CODES = CODES[:40]
ROWS = Rows(X, CODES)
ASSIGN = {
    "cdist": (nearest.by_cdist, FINE),
    "products": (nearest.by_products, FINE),
    "half products": (nearest.by_half_products, ROUGH),
}
SUMS = {"index_add": steps.sums_by_index_add, "sorted": steps.sums_by_sorting}


@pytest.mark.parametrize("name", ASSIGN)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_ways_to_find_the_nearest(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "CHUNK_SCORES", {"cpu": 64 * len(CODES)})  # and a rest of 44
    assign, tolerance = ASSIGN[name]
    x = X.to(dtype)
    truth = Rows(x, CODES)
    found = assign(x, CODES)
    assert truth.excess(found) <= tolerance
    expected = (x.double()[:, None] - CODES.double()).square().sum(-1).argmin(1)
    assert truth.excess(expected) <= EXACT
    assert truth.wrong(expected) == 0
    assert truth.wrong(found) == (found != expected).double().mean()


def test_the_truth_sees_one_wrong_row_and_how_wrong_it_is() -> None:
    codes = torch.tensor([[0.0], [3.0]])
    truth = Rows(torch.tensor([[1.0], [1.0], [3.5], [0.0]]), codes)
    right = torch.tensor([0, 0, 1, 0])
    assert (truth.excess(right), truth.wrong(right)) == (0, 0)
    wrong = torch.tensor([0, 1, 1, 0])
    assert truth.excess(wrong) == pytest.approx((4 - 1) / 1)
    assert truth.wrong(wrong) == 0.25
    for broken in (right[:3], right - 1, right + 1):
        assert truth.excess(broken) == float("inf")


@pytest.mark.parametrize("name", SUMS)
def test_ways_to_add_up(name: str) -> None:
    indices = torch.arange(300) % 38  # two codes have no row
    sums, counts = SUMS[name](X, indices, 40)
    expected = torch.stack([X[indices == code].double().sum(0) for code in range(40)])
    torch.testing.assert_close(sums, expected.float())
    assert counts.tolist() == [float((indices == code).sum()) for code in range(40)]


def way(name: str) -> steps.Step:
    ways: dict[str, Callable[[], steps.Step]] = {
        "our layer": lambda: steps.by_layer(OurLayer, ROWS),
        "package": lambda: steps.by_layer(VectorQuantize, ROWS),
        "composed": lambda: steps.composed(nearest.by_products, steps.sums_by_index_add, ROWS),
    }
    return ways[name]()


@pytest.mark.parametrize("name", ["our layer", "package", "composed"])
def test_steps_are_the_packages_step_after_step(name: str) -> None:
    mine, theirs = way(name), way("package")
    first = mine()
    assert steps.error(ROWS, first) <= dictionary.STEP_TOLERANCE
    theirs()
    for _ in range(4):
        for found, expected in zip(mine()[:3], theirs()[:3], strict=True):
            torch.testing.assert_close(found, expected)
    assert not torch.equal(mine().codes, CODES)


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_step_of_the_dictionary_is_equation_4(deterministic: bool) -> None:
    step = steps.by_dictionary(ROWS, deterministic=deterministic)
    codes = CODES.double()
    for _ in range(3):
        before = codes.float()
        indices = (X.double()[:, None] - codes).square().sum(-1).argmin(1)
        for code in indices.unique():
            codes[code] = 0.99 * codes[code] + 0.01 * X[indices == code].double().mean(0)
        found = step()
        assert torch.equal(found.indices, indices)
        torch.testing.assert_close(found.quantised, before[indices])
        torch.testing.assert_close(found.codes, codes.float())


@pytest.mark.parametrize("part", ["indices", "quantised", "codes"])
@pytest.mark.parametrize("make", [steps.by_dictionary, partial(steps.by_layer, OurLayer)])
def test_a_step_that_is_wrong_in_one_part(make: Callable[[Rows], steps.Step], part: str) -> None:
    solution = make(ROWS)()
    assert steps.error(ROWS, solution) <= dictionary.STEP_TOLERANCE
    spoilt = getattr(solution, part).clone()
    spoilt[3] = (spoilt[3] + 1) % 40 if part == "indices" else spoilt[3] * 1.001
    assert steps.error(ROWS, solution._replace(**{part: spoilt})) > 1e-4


def test_each_step_is_held_to_its_own_rule() -> None:
    for make in (steps.by_dictionary, partial(steps.by_layer, OurLayer)):
        solution = make(ROWS)()
        other = solution._replace(is_of_means=not solution.is_of_means)
        assert steps.error(ROWS, other) > dictionary.STEP_TOLERANCE


def test_a_step_with_other_codes_than_the_nearest() -> None:
    farthest = lambda x, codes: torch.cdist(x, codes).argmax(1)
    step = steps.composed(farthest, steps.sums_by_index_add, ROWS)
    assert steps.error(ROWS, step()) > 0.5


def perplexity(indices: Tensor) -> float:
    """Of the use of codes."""
    shares = torch.bincount(indices).double() / len(indices)
    return float(torch.special.entr(shares).sum().exp())


@pytest.mark.parametrize("shape", [(2048, 128, 64), (512, 1024, 64)])
def test_codes_stay_in_use_over_the_steps_of_a_measurement(shape: dictionary.Shape) -> None:
    rows = dictionary.draw(Setting(device="cpu"), torch.float32, shape)
    step = steps.by_dictionary(rows)
    hit = len(step().indices.unique())
    assert hit > 0.3 * shape[1]
    for _ in range(19):
        found = step()
    assert perplexity(found.indices) > hit / 2
    assert not torch.equal(found.codes, rows.codes)


def test_squared_norms_for_flash_kmeans() -> None:
    asked: dict[str, Tensor] = {}

    def assign(rows: Tensor, codes: Tensor, norms: Tensor) -> Tensor:
        asked.update(rows=rows, codes=codes, norms=norms)
        return torch.zeros(1, rows.shape[1], dtype=torch.int32)

    x = X.bfloat16()
    found = nearest.by_flash_kmeans(assign)(x, CODES)
    assert (found.shape, found.dtype) == ((300,), torch.int64)
    assert torch.equal(asked["rows"], x[None])
    assert torch.equal(asked["codes"], CODES.bfloat16()[None])
    expected = x.double().square().sum(-1)[None].float()
    torch.testing.assert_close(asked["norms"], expected)  # float32, of each row


def test_tf32_is_for_one_call_only() -> None:
    before = torch.get_float32_matmul_precision()
    assert nearest.in_tf32(torch.get_float32_matmul_precision)() == "high" != before
    assert torch.get_float32_matmul_precision() == before


def test_varied_numbers_of_rows_are_different_ones() -> None:
    found = {case.name: case for case in dictionary.cases(Setting(device="cpu"))}
    sizes = [draw.args[2][0] for draw in found["assign-varied-100x"].draws]
    assert len(set(sizes)) == len(sizes) == 100
    assert 500 <= min(sizes) < 550
    assert 1450 < max(sizes) < 1500
