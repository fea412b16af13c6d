"""Two processes with half of the vectors each hold the codebook of one that has them all."""

from pathlib import Path
from typing import Any

import pytest
import torch
from rank_processes import run_ranks

import vlp_fast

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "k-means": {"kmeans_init": True},
    "dead codes": {"threshold_ema_dead_code": 6},
}
RANK = """
import sys
import torch
from torch import distributed
import vlp_fast

folder, rank, first = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
x, options = torch.load(f"{folder}/problem.pt")
torch.manual_seed(0)
layer = vlp_fast.VectorQuantize(4, 8, **options)
torch.manual_seed(rank)
for part in x[:, first:] if rank else x[:, :first]:
    layer(part)
torch.save(layer.state_dict(), f"{folder}/{rank}.pt")
distributed.destroy_process_group()
"""


def run_both(folder: Path, problem: Any, first: int = 20) -> list[dict[str, torch.Tensor]]:
    """The states of rank 0, which has so many vectors of each step, and 1 after three steps."""
    torch.save(problem, folder / "problem.pt")
    return run_ranks(RANK, folder, 2, first)


@pytest.mark.dist
@pytest.mark.parametrize("name", OPTIONS)
def test_two_processes_hold_one_codebook(tmp_path: Path, name: str) -> None:
    options = OPTIONS[name]
    x = torch.randn(3, 40, 4)
    first, second = run_both(tmp_path, (x, options))
    assert all(torch.equal(first[part], second[part]) for part in first)
    torch.manual_seed(0)
    alone = vlp_fast.VectorQuantize(4, 8, **options)
    for rows in x:
        alone(rows)
    if options:  # what was drawn is another; the rows of both count all the same
        assert abs(first["_codebook.cluster_size"].sum() - 40) < 20
        assert not torch.equal(first["_codebook.embed"], alone.state_dict()["_codebook.embed"])
        return
    for part, value in alone.state_dict().items():
        torch.testing.assert_close(first[part], value)


@pytest.mark.dist
@pytest.mark.parametrize("first", [0, 40])
def test_a_process_without_vectors_takes_part(tmp_path: Path, first: int) -> None:
    options = OPTIONS["dead codes"]
    states = run_both(tmp_path, (torch.randn(3, 40, 4), options), first)
    assert all(torch.equal(states[0][part], states[1][part]) for part in states[0])
    # Dead codes move onto vectors of the first process alone.
    sizes = states[0]["_codebook.cluster_size"]
    assert bool((sizes >= 6).all()) == (first == 40)


FIRST_ALONE = """
import sys
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
import vlp_fast

folder, rank, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
x, state = torch.load(f"{folder}/problem.pt")
torch.manual_seed(rank)
layer = vlp_fast.VectorQuantize(4, 8, kmeans_init=how != "drawn")
if rank == 0 and how != "fresh":
    layer.load_state_dict(state)
model = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), layer)
torch.nn.init.eye_(model[0].weight)
if how not in ("no wrapper", "drawn"):
    model = DistributedDataParallel(model)
for part in x[:, rank]:
    out = model(part)
    (out[0].sum() + out[2]).backward()
torch.save(layer.state_dict(), f"{folder}/{rank}.pt")
distributed.destroy_process_group()
"""


@pytest.mark.dist
@pytest.mark.parametrize("how", ["wrapped", "no wrapper", "drawn", "fresh"])
def test_a_state_that_one_process_has_loaded_is_that_of_both(tmp_path: Path, how: str) -> None:
    """Neither k-means over it, nor one process alone in k-means, which would wait for ever."""
    alone = vlp_fast.VectorQuantize(4, 8, kmeans_init=True)
    alone(torch.randn(30, 4))
    x = 3 + torch.randn(3, 2, 20, 4)
    torch.save((x, alone.state_dict()), tmp_path / "problem.pt")
    states = run_ranks(FIRST_ALONE, tmp_path, 2, how)
    assert all(torch.equal(states[0][part], states[1][part]) for part in states[0])
    for rows in x:
        alone(rows)
    is_same = torch.allclose(states[0]["_codebook.embed"], alone._codebook.embed, atol=1e-5)
    assert is_same == (how != "fresh")
