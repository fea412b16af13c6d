"""What the dictionary is compared with: each way is right, and each part of a wrong one is seen."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from vector_quantize_pytorch import VectorQuantize

from vlp_fast.benchmarks import codebook_steps as steps
from vlp_fast.benchmarks import dictionary, nearest, quantizers, suite
from vlp_fast.benchmarks.case import Setting
from vlp_fast.benchmarks.nearest import EXACT, FINE, ROUGH, Truth

X, CODES = torch.randn(2, 300, 16, generator=torch.Generator().manual_seed(0)).unbind()
CODES = CODES[:40]
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
    truth = Truth(x, CODES)
    found = assign(x, CODES)
    assert truth.excess(found) <= tolerance
    expected = (x.double()[:, None] - CODES.double()).square().sum(-1).argmin(1)
    assert truth.excess(expected) <= EXACT
    assert truth.wrong(expected) == 0
    assert truth.wrong(found) == (found != expected).double().mean()


def test_the_truth_sees_one_wrong_row_and_how_wrong_it_is() -> None:
    codes = torch.tensor([[0.0], [3.0]])
    truth = Truth(torch.tensor([[1.0], [1.0], [3.5], [0.0]]), codes)
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
        "ours": lambda: steps.by_ours(X, CODES),
        "ours, atomic": lambda: steps.by_ours(X, CODES, deterministic=False),
        "our layer": lambda: steps.by_our_layer(X, CODES),
        "package": lambda: steps.by_package(VectorQuantize, X, CODES),
        "composed": lambda: steps.composed(nearest.by_products, steps.sums_by_index_add, X, CODES),
    }
    return ways[name]()


@pytest.mark.parametrize("name", ["ours", "ours, atomic", "our layer", "package", "composed"])
def test_steps_are_the_packages_step_after_step(name: str) -> None:
    mine, theirs = way(name), way("package")
    first = [part.clone() for part in mine()]
    assert steps.error(Truth(X, CODES), first) <= dictionary.STEP_TOLERANCE
    theirs()
    for _ in range(4):
        for found, expected in zip(mine(), theirs(), strict=True):
            torch.testing.assert_close(found, expected)
    assert not torch.equal(mine()[2], CODES)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_step_that_is_wrong_in_one_part(part: int) -> None:
    solution: list[Tensor] = [value.clone() for value in way("ours")()]
    solution[part][3] = (solution[part][3] + 1) % 40 if part == 0 else solution[part][3] * 1.001
    assert steps.error(Truth(X, CODES), solution) > 1e-4


def test_a_step_with_other_codes_than_the_nearest() -> None:
    farthest = lambda x, codes: torch.cdist(x, codes).argmax(1)
    step = steps.composed(farthest, steps.sums_by_index_add, X, CODES)
    assert steps.error(Truth(X, CODES), step()) > 0.5


def perplexity(indices: Tensor) -> float:
    """Of the use of codes."""
    shares = torch.bincount(indices).double() / len(indices)
    return float(torch.special.entr(shares).sum().exp())


@pytest.mark.parametrize("shape", [(2048, 128, 64), (512, 1024, 64)])
def test_codes_stay_in_use_over_the_steps_of_a_measurement(shape: dictionary.Shape) -> None:
    x, codes = dictionary._draw(Setting(device="cpu"), torch.float32, shape)
    step = steps.by_ours(x, codes)
    hit = len(step()[0].unique())
    assert hit > 0.3 * shape[1]
    for _ in range(19):
        found, _, moved = step()
    assert perplexity(found) > hit / 2
    assert not torch.equal(moved, codes)


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


def test_sizes_and_dtypes() -> None:
    on_gpu = dictionary.cases(Setting(device="cuda"))
    names = list(on_gpu)
    first = ["assign-bf16-N65536-K2048-D768", "step-bf16-N65536-K2048-D768"]
    assert names[:2] == first  # what is left if the time is up early
    turns = [name.partition("-") for name in names if "varied" not in name]
    assert [kind for kind, _, _ in turns] == ["assign", "step"] * (len(turns) // 2)
    assert all(one[2] == other[2] for one, other in zip(turns[::2], turns[1::2], strict=True))
    assert names.index("assign-varied-100x") < names.index("assign-N65536-K2048-D768")
    for kind in ("assign", "step"):
        for rows in (5000, 65536, 400000):
            for words in ("bf16-", ""):
                assert f"{kind}-{words}N{rows}-K2048-D768" in on_gpu
        assert {f"{kind}-bf16-N65536-K{k}-D768" for k in (512, 8192)} <= on_gpu.keys()
        assert f"{kind}-fp16-N65536-K2048-D768" in on_gpu
    on_cpu = dictionary.cases(Setting(device="cpu"))
    sizes = {f"N{n}-K2048-D768" for n in (1024, 4096, 16384)} | {"N4096-K512-D128"}
    sizes |= {f"N4096-K{k}-D768" for k in (512, 8192)}
    assert {f"{kind}-{size}" for kind in ("assign", "step") for size in sizes} <= on_cpu.keys()


def test_a_hundred_different_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    case = suite.cases("dictionary", Setting(device="cpu"))["assign-varied-100x"]()
    monkeypatch.setattr(quantizers.nearest, "by_cdist", lambda x, codes: asked.append(len(x)))
    case = suite.cases("dictionary", Setting(device="cpu"))["assign-varied-100x"]()
    case.providers["cdist + argmin"].run()
    assert len(set(asked)) == len(asked) == case.calls == 100
    assert 500 <= min(asked) < 550
    assert 1450 < max(asked) < 1500
