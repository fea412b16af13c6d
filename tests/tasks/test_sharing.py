"""Processes share held-out batches, and all have the figures of a single one, to the bit."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rebuilt import with_setup
from sample_tasks import Build, Cpu
from teams import Member, run_team

from vlp_fast.errors import InputError
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.pretraining.e2e_vlp import E2EVLPPretraining
from vlp_fast.tasks.pretraining.soho import SohoPretraining
from vlp_fast.tasks.sharing import ALONE, Team, shared

COUNTS = pytest.mark.parametrize("count", [1, 2, 3, 8])


def halves(numbers: range) -> Iterator[float]:
    return (number / 2 for number in numbers)


@COUNTS
@pytest.mark.parametrize("items", [0, 1, 5, 6, 7, 30])
def test_all_have_all_results_in_order(count: int, items: int) -> None:
    def work(team: Team) -> tuple[list[float], int]:
        visits: list[None] = []
        visit = lambda: visits.append(None)
        found = [*shared(team, items, halves, lambda x: x + 1, visit=visit, rounds=3)]
        return found, len(visits)

    told = run_team(count, work)
    assert told == [([number / 2 + 1 for number in range(items)], -(-items // count))] * count


@pytest.mark.parametrize("count", [2, 3])
def test_each_item_is_made_by_one_process_and_no_earlier_than_it_is_asked_for(count: int) -> None:
    made: list[tuple[int, int]] = []

    def work(team: Team) -> list[int]:
        def make(numbers: range) -> Iterator[int]:
            for number in numbers:
                made.append((team.rank, number))
                yield number

        results = shared(team, 100, make, lambda x: x, visit=lambda: None, rounds=1)
        return [next(results) for _ in range(4)]  # and no more

    assert run_team(count, work) == [[0, 1, 2, 3]] * count
    assert sorted(number for _, number in made) == [*range(-(-4 // count) * count)]
    assert all(number % count == rank for rank, number in made)


@pytest.mark.parametrize("place", ["make", "measure"])
@pytest.mark.parametrize("broken", [0, 7, 11])
def test_who_fails_stops_all_and_none_is_left_waiting(place: str, broken: int) -> None:
    def spoil(here: str, number: int) -> int:
        if (here, number) == (place, broken):
            raise InputError(f"number {number} is broken")
        return number

    def work(team: Team) -> tuple[str, int, int]:
        visits: list[None] = []
        make = lambda numbers: (spoil("make", number) for number in numbers)
        found = []
        with pytest.raises(InputError) as caught:
            for value in shared(
                team,
                12,
                make,
                lambda x: spoil("measure", x),
                visit=lambda: visits.append(None),
                rounds=2,
            ):
                found.append(value)
        return str(caught.value), len(visits), len(found)

    rank, rounds = broken % 3, broken // 3
    seen = 2 * (rounds // 2)
    assert run_team(3, work) == [
        (f"process {rank}: number {broken} is broken", seen + 2, 3 * seen)
    ] * 3  # fmt: skip


def test_results_reach_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: moved.append(self) or self)
    items = lambda numbers: (torch.tensor(number) for number in numbers)
    found = [*shared(ALONE, 3, items, lambda x: {"a": (x, [x])}, visit=lambda: None)]
    assert [int(value["a"][1][0]) for value in found] == [0, 1, 2]
    assert len(moved) == 6


Task = SohoPretraining | E2EVLPPretraining


def of_all(task: Any, work: Callable[[HeldOut], Any], count: int) -> list[Any]:
    def one(team: Member) -> Any:
        with torch.no_grad():
            return work(HeldOut(task=task, runtime=Cpu(), batch_size=3, team=team))

    task.learner.eval()
    return run_team(count, one)


@pytest.fixture(params=["soho", "e2e_vlp", "vqa", "nlvr2", "ve"])
def task(request: pytest.FixtureRequest, build: Build) -> Any:
    if request.param in ("soho", "e2e_vlp"):
        made: Any = request.getfixturevalue(f"{request.param}_task")
        return with_setup(made, held_out_images=14)
    return build(request.param, shuffled=True)


def test_figures_are_those_of_one_process(task: Any) -> None:
    (alone,) = of_all(task, task.figures, 1)
    assert len(alone) > 3
    for count in (2, 3, 8):
        assert of_all(task, task.figures, count) == [alone] * count


@pytest.mark.parametrize("name", ["soho", "e2e_vlp", "vqa"])
def test_each_batch_is_computed_once(
    name: str, build: Build, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a task measures: otherwise nothing would be gained."""
    made: Any = build(name) if name == "vqa" else request.getfixturevalue(f"{name}_task")
    task = made if name == "vqa" else with_setup(made, held_out_images=14)
    seen: list[int] = []
    model = task.learner.model
    see = model.see if name != "soho" else model.embed_image
    watched = lambda *words, **more: seen.append(len(words[0])) or see(*words, **more)
    monkeypatch.setattr(model, "see" if name != "soho" else "embed_image", watched)
    of_all(task, task.figures, 1)
    alone = sorted(seen)
    seen.clear()
    of_all(task, task.figures, 3)
    assert sorted(seen) == alone


def test_problems_are_told_in_the_order_of_one_process(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    task: Any = build("ve")
    collate = task.collate

    def spoilt(examples: Any, key: Any) -> Any:
        made = collate(examples, key)
        object.__setattr__(made, "problems", tuple(f"problem {e.index}" for e in examples))
        return made

    monkeypatch.setattr(task, "collate", spoilt)
    told: list[list[str]] = []

    def work(held_out: HeldOut) -> list[str]:
        lines: list[str] = []
        object.__setattr__(held_out, "report", lines.extend)
        [*held_out.measured(lambda inputs: None)]
        return lines

    (alone,) = of_all(task, work, 1)
    assert len(alone) == 20
    told = of_all(task, work, 3)
    assert told == [alone] * 3


def test_answers_are_handed_in_by_the_first_alone(build: Build, tmp_path: Path) -> None:
    task: Any = build("ve")
    handed = with_setup(task, held_out_images=10**9)
    handed.logits = lambda learner, inputs: torch.nn.functional.one_hot(
        torch.tensor(inputs.indices) % 3, 3
    ).float()
    files = []
    for count in (1, 2):
        paths = iter([tmp_path / f"{count}-{rank}" for rank in range(count)])
        where = {rank: next(paths) for rank in range(count)}
        of_all(handed, lambda h, w=where: handed.submit(h, w[h.team.rank], print), count)
        files.append([path.read_text() for path in where.values() if path.exists()])
    assert files[0] == files[1]
    assert len(files[0]) == 1
