"""The visual dictionary on 1, 2 and 4 processes: one state, and that of one process on all rows."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from rank_processes import run_ranks

from vlp_fast import VisualDictionary

pytestmark = [pytest.mark.dist, pytest.mark.xdist_group("dictionary_processes")]

RANK = """
import copy
import sys
import warnings
import torch
from torch import distributed
from vlp_fast import VisualDictionary

torch.set_num_threads(1)
warnings.simplefilter("ignore")
folder, rank, world = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = f"file://{folder}/store"
distributed.init_process_group("gloo", store, rank=rank, world_size=world)


def train(options, steps, start, way):
    torch.manual_seed(rank)
    dictionary = VisualDictionary(12, 5, **options)
    if start is None:
        dictionary.initialise_from(steps[0][rank::world], iterations=3)
    elif start:
        dictionary.load_state_dict(start)
    seen = []
    for x in steps:
        rows = x[rank::world].clone().requires_grad_()
        quantised, indices = dictionary(rows)
        before = dictionary.embed.clone()
        if way == "backward":
            quantised.sum().backward()
        elif way == "eval":
            dictionary.train(False).train()
        elif way == "state":
            dictionary.state_dict()
        elif way == "copy":
            dictionary = copy.deepcopy(dictionary)
        elif way == "finish":
            dictionary.finish_update()
        elif way == "other codes":
            dictionary.embed.mul_(1)  # as a broadcast of buffers writes them
            try:
                dictionary.finish_update()
            except RuntimeError as error:
                return str(error)
        seen.append((quantised.detach(), indices, before, dictionary.embed.clone()))
    return dictionary.state_dict(), seen, int(dictionary.non_finite_rows)


problems = torch.load(f"{folder}/problems.pt")
found = {name: train(*problem) for name, problem in problems.items()}
torch.save(found, f"{folder}/{rank}.pt")
distributed.destroy_process_group()
"""

State = dict[str, torch.Tensor]
WAYS = ("backward", "eval", "state", "copy", "finish", "next")
SEMANTICS = ("paper", "official")


class Problem(NamedTuple):
    """Options of the dictionary, rows of all processes, the state to start from (none: as each
    process has drawn it) or None for data, and what ends a step."""

    options: dict[str, Any]
    steps: list[torch.Tensor]
    start: State | None
    way: str


Run = Callable[[int, str], list[Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """run(world, name): state, what was seen in each step, and rows left out, of each process."""

    @cache
    def all_problems(world: int) -> list[Any]:
        folder = tmp_path_factory.mktemp(f"processes-{world}")
        torch.save({name: tuple(p) for name, p in PROBLEMS.items()}, folder / "problems.pt")
        return run_ranks(RANK, folder, world, world)

    return lambda world, name: [found[name] for found in all_problems(world)]


def make_steps(*sizes: int) -> list[torch.Tensor]:
    return [2 * torch.randn(size, 5) for size in sizes]


def start_of(options: dict[str, Any]) -> State:
    dictionary = VisualDictionary(12, 5, **options)
    for rows in make_steps(50, 50):
        dictionary(rows)
    return dictionary.state_dict()


def together(semantics: str) -> Problem:
    """The second step leaves processes without rows; the third has a row that is not finite."""
    options = {"momentum": 0.6, "semantics": semantics}
    steps = make_steps(41, 1, 30)
    steps[2][7] = torch.nan
    return Problem(options, steps, start_of(options), "backward")


def ending(way: str) -> Problem:
    return Problem({"momentum": 0.6}, make_steps(20, 20, 20), start_of({}), way)


def dying(semantics: str, rows: int) -> Problem:
    """All codes but two are dead."""
    options = {"momentum": 0.6, "semantics": semantics, "revival": 0.1}
    start = start_of(options)
    start["embed"][2:] = 100.0 + torch.randn(10, 5)
    start["cluster_size"][2:] = 0.0
    return Problem(options, make_steps(rows), start, "backward")


def make_problems() -> dict[str, Problem]:
    torch.manual_seed(0)
    problems = {f"together {name}": together(name) for name in SEMANTICS}
    problems |= {f"ending by {way}": ending(way) for way in WAYS}
    problems |= {f"dying {name}": dying(name, 40) for name in SEMANTICS}
    problems["dying with one row"] = dying("paper", 1)
    problems["from data"] = Problem({"momentum": 0.6}, make_steps(90), None, "backward")
    problems |= {
        f"drawn {name}": Problem({"semantics": name}, make_steps(20, 20), {}, "next")
        for name in SEMANTICS
    }
    apart = {"momentum": 0.6, "synchronise": False}
    problems["other codes"] = ending("other codes")
    problems["apart"] = Problem(apart, make_steps(20), start_of({}), "next")
    return problems


PROBLEMS = make_problems()


def alone_on(problem: Problem) -> VisualDictionary:
    dictionary = VisualDictionary(12, 5, **problem.options)
    if problem.start:
        dictionary.load_state_dict(problem.start)
    return dictionary


def assert_one_state(found: list[Any]) -> State:
    """The same bits on all processes."""
    first: State = found[0][0]
    for state, *_ in found:
        for name, value in state.items():
            assert torch.equal(value, first[name]), name
    return first


def assert_state(state: State, expected: State) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("semantics", SEMANTICS)
def test_one_state_and_that_of_one_process_on_all_rows(world, semantics, run) -> None:
    problem = PROBLEMS[f"together {semantics}"]
    found = run(world, f"together {semantics}")
    alone = alone_on(problem)
    with pytest.warns(RuntimeWarning, match="NaN"):
        expected = [alone(rows) for rows in problem.steps]
    assert {non_finite for *_, non_finite in found} == {1}
    assert_state(assert_one_state(found), alone.state_dict())
    for rank, (_, seen, _) in enumerate(found):
        for (quantised, indices, *_), (wanted, nearest) in zip(seen, expected, strict=True):
            assert torch.equal(indices, nearest[rank::world])
            torch.testing.assert_close(
                quantised, wanted[rank::world], rtol=1e-5, atol=1e-6, equal_nan=True
            )


@pytest.mark.parametrize("way", WAYS)
def test_codes_move_at_the_end_of_the_step(way, run) -> None:
    problem = PROBLEMS[f"ending by {way}"]
    found = run(2, f"ending by {way}")
    alone = alone_on(problem)
    old = alone.embed.clone()
    for step, rows in enumerate(problem.steps):
        alone(rows)
        for _, seen, _ in found:
            *_, before, after = seen[step]
            torch.testing.assert_close(before, old, rtol=1e-5, atol=1e-6)
            moved = old if way == "next" else alone.embed
            torch.testing.assert_close(after, moved, rtol=1e-5, atol=1e-6)
        old = alone.embed.clone()
    assert_state(assert_one_state(found), alone.state_dict())


@pytest.mark.parametrize("world", [1, 2, 4])
def test_start_from_data_is_that_of_one_process(world, run) -> None:
    problem = PROBLEMS["from data"]
    alone = alone_on(problem)
    rows = torch.cat([problem.steps[0][rank::world] for rank in range(world)])
    alone.initialise_from(rows, iterations=3)
    alone(rows)
    assert_state(assert_one_state(run(world, "from data")), alone.state_dict())


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("semantics", SEMANTICS)
def test_codes_that_each_process_has_drawn_are_those_of_the_first(world, semantics, run) -> None:
    problem = PROBLEMS[f"drawn {semantics}"]
    torch.manual_seed(0)
    alone = alone_on(problem)
    for rows in problem.steps:
        alone(rows)
    assert_state(assert_one_state(run(world, f"drawn {semantics}")), alone.state_dict())


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("semantics", SEMANTICS)
def test_revived_codes_are_rows_of_every_process(world, semantics, run) -> None:
    problem = PROBLEMS[f"dying {semantics}"]
    state = assert_one_state(run(world, f"dying {semantics}"))
    codes, sizes = state["embed"][2:], state["cluster_size"][2:]
    origin = [int((problem.steps[0] == code).all(dim=1).nonzero()) % world for code in codes]
    assert [origin.count(rank) for rank in range(world)] == [10 // world] * world
    assert codes.unique(dim=0).shape[0] == 10
    assert (sizes == 40 / 12).all()
    if semantics == "official":
        torch.testing.assert_close(state["embed_avg"][2:] / sizes[:, None], codes)


def test_a_process_without_rows_revives_nothing(run) -> None:
    problem = PROBLEMS["dying with one row"]
    codes = assert_one_state(run(2, "dying with one row"))["embed"]
    # Of ten dead codes, the second process would have had every other one.
    assert (codes[2:] == problem.steps[0]).all(dim=1).tolist() == [True, False] * 5
    assert torch.equal(codes[3::2], problem.start["embed"][3::2])


def test_codes_that_are_changed_before_the_update_are_refused(run) -> None:
    for message in run(2, "other codes"):
        assert "give DistributedDataParallel broadcast_buffers=False" in message


def test_one_process_keeps_to_itself_if_told(run) -> None:
    problem = PROBLEMS["apart"]
    for rank, (state, *_) in enumerate(run(2, "apart")):
        alone = alone_on(problem)
        alone(problem.steps[0][rank::2])
        assert torch.equal(state["embed"], alone.embed)
