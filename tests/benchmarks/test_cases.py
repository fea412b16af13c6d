"""The cases of every operator run to the end on a CPU, and their checks see what is wrong."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vlp_fast.benchmarks import OPERATORS, harness, matching
from vlp_fast.benchmarks.case import Case, Provider, Setting, cases
from vlp_fast.benchmarks.codebook_steps import Solution
from vlp_fast.benchmarks.harness import DISAGREES, LEFT_OUT, DisagreementError, measure
from vlp_fast.benchmarks.timing import Effort

QUICK = Setting(device="cpu", is_quick=True)
ONCE = Effort(fewest=1, most_seconds=0.0)
ALL = {f"{c.operator}-{c.name}": c for operator in OPERATORS for c in cases(operator, QUICK)}


@pytest.mark.parametrize("name", ALL)
def test_all_agree_and_a_wrong_solution_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "WARM_UP_RUNS", 0)
    case = ALL[name]
    problems = [draw() for draw in case.draws]
    case = replace(case, draws=[lambda problem=problem: problem for problem in problems])
    results = measure(case, QUICK, ONCE)
    timed = [result for result in results if not result.verdict]
    assert timed[0].provider == "vlp_fast"
    assert len(timed) >= 2  # ours and at least one peer
    bound = max(1e-3, case.tolerance)
    assert all(result.median > 0 and result.error < bound for result in timed)
    assert all(result.verdict in ("", LEFT_OUT) for result in results)

    provider = case.providers["vlp_fast"]
    problem = problems[-1]
    solution = provider.read(problem, provider.run(provider.prepare(problem)))
    assert case.error(problem, solution) <= case.tolerance
    assert not case.error(problem, spoilt(solution)) <= case.tolerance


def spoilt(solution: object) -> object:
    """The same with its first two numbers exchanged or, of losses, one of them moved."""
    if isinstance(solution, Tensor):
        first = solution.reshape(-1)[:2]
        moved = solution.clone(memory_format=torch.contiguous_format)
        moved.view(-1)[:2] = 9 if solution.is_floating_point() else first.flip(0)
        return moved
    if isinstance(solution, list):
        return [spoilt(part) for part in solution]
    if isinstance(solution, Solution):
        return solution._replace(indices=spoilt(solution.indices))
    assert isinstance(solution, tuple)
    losses, gradients = solution
    return {**losses, "loss_giou_0": losses["loss_giou_0"] * 1.01}, gradients


def test_a_provider_that_errs_is_told_and_ours_ends_its_case() -> None:
    case = ALL["matching-solve-uniform-B2-T30"]
    wrong = Provider(lambda costs: torch.zeros(len(costs.cost), dtype=torch.int64))
    (told,) = measure(with_provider(case, "peer", wrong), QUICK, ONCE, ["peer"])
    assert (told.verdict, told.times) == (DISAGREES, [])
    assert "peer disagrees: inf from the truth" in told.problem
    with pytest.raises(DisagreementError, match="vlp_fast disagrees: inf from the truth"):
        measure(with_provider(case, "vlp_fast", wrong), QUICK, ONCE)


def with_provider(case: Case, name: str, provider: Provider) -> Case:
    return replace(case, providers={**case.providers, name: provider})


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_names_say_sizes_and_who_is_compared(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made as on a GPU, where nothing runs before the harness asks for it."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    on_gpu = device == "cuda"
    found = {operator: cases(operator, Setting(device=device)) for operator in OPERATORS}
    names = {operator: [case.name for case in of_it] for operator, of_it in found.items()}
    assert [len(names[operator]) for operator in OPERATORS] == [
        16 if on_gpu else 20,
        5,
        19 if on_gpu else 13,
        1,
        9,
    ]
    assert list(dict.fromkeys(name.partition("-")[0] for name in names["attention"])) == [
        *("coco", "soho", "block", "encoder6", "objects", "words", "writing", "dense", "varied")
    ]
    assert ("encoder6-full-B32-H8-E32" in names["attention"]) == on_gpu
    first = "bf16-N65536-K2048-D768" if on_gpu else "N4096-K512-D128"
    assert names["dictionary"][:2] == [f"assign-{first}", f"step-{first}"]
    assert "match-6xB32-T30" in names["matching"]
    assert [len(c.draws) for c in found["matching"]] == [1] * 6 + [matching.VARIED_BATCHES, 1, 1]
    who = {c.name: set(c.providers) for of_it in found.values() for c in of_it}
    assert {"rfdetr", "transformers"} < who["match-groups-4xB4-G13-T30"]
    padded = {"DETR, padded", "DETR, padded, compiled"}
    parts = {"x + p, linear, varlen_attn", "x + p, linear, varlen_attn, compiled"}
    assert padded | parts < who["block-B8-H8-E32"]
    assert padded < who["encoder6-B8-H8-E32"]
    assert {"varlen_attn", "FlexAttention"} < who[names["attention"][-1]]
    assert {"PyTorch SDPA", "PyTorch SDPA, cuDNN"} < who["dense-B8-L320-H12-E64"]
    assert {"addmm + argmax, sorted sums", "vector-quantize-pytorch"} < who[f"step-{first}"]
    only_there = {"half mm + argmax, compiled, index_add", "vlp_fast atomic sums"}
    assert (only_there < who[f"step-{first}"]) == on_gpu
    assert ("vector-quantize-pytorch, TF32" in who[f"step-{first}"]) == on_gpu
