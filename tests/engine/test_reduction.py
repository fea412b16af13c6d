"""Gradients of a step are the mean over its shards, however many processes and phases there are."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_processes import run_ranks

pytestmark = [pytest.mark.dist, pytest.mark.xdist_group("processes")]

PROGRAM = """
import os, sys, torch
from torch import nn
from vlp_fast.engine.config import TrainConfig
from vlp_fast.engine.reduction import Reduction
from vlp_fast.engine.world import world_of

folder, rank, count, port = sys.argv[1:]
os.environ |= {"RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
torch.set_num_threads(1)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.first, self.second = (nn.Linear(3, 3) for _ in range(3))

    def forward(self, head, x):
        return getattr(self, head)(self.body(x).tanh()).square().mean()

def made():
    torch.manual_seed(0)
    return Net()

def step(net, reduction, world, head, batches):
    mine = world.share_of(len(batches))
    def shard(number, is_last):
        with reduction.shard(is_last=is_last) as learner:
            loss = learner(head, batches[number])
            (loss * reduction.factor).backward()
        return loss.detach().double()[None]
    for number in mine:
        if not reduction.is_begun:
            shard(number, True)
            other = {"first": "second", "second": "first"}[head]
            assert reduction.begin_phase() == [f"{other}.weight", f"{other}.bias"]
        reduction.add([shard(number, number == mine[-1])])
    (total,) = reduction.take()
    gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    for p in net.parameters():
        p.grad = None
    return total, gradients

def check(head, batches, total, gradients):
    net = made()
    losses = [net(head, x) for x in batches]
    torch.testing.assert_close(total, torch.stack(losses).double().sum()[None])
    (sum(losses) / len(losses)).backward()
    expected = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], msg=name)

def run(world, shards, is_exact):
    net, draw, found = made(), torch.Generator().manual_seed(shards), []
    reduction = Reduction(net, world, shards, is_exact=is_exact)
    for head in ("first", "first", "second", "first"):
        reduction.end_phase()
        for _ in range(2):  # the second step of a phase has its own way
            batches = [torch.randn(4, 3, generator=draw) for _ in range(shards)]
            total, gradients = step(net, reduction, world, head, batches)
            check(head, batches, total, gradients)
            found += [x.clone() for x in gradients.values()]
    batches[-1][0, 0] = torch.nan  # a shard of the last process
    total, gradients = step(net, reduction, world, head, batches)
    assert total.isnan().all() and gradients["body.weight"].isnan().all()
    return found

found = {}
with world_of(TrainConfig(shards=2, device="cpu", watchdog_minutes=0)) as world:
    for shards in {"1": (1, 3, 4), "2": (2, 4, 6)}[count]:
        for is_exact in (False, True)[: 1 if shards == 6 else 2]:
            found[shards, is_exact] = run(world, shards, is_exact)
torch.save(found, f"{folder}/{rank}.pt")
"""


def found(folder: Path, count: int) -> list[dict[Any, list[torch.Tensor]]]:
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return run_ranks(PROGRAM, folder, count, count, port)


def test_gradients_are_the_mean_over_shards(tmp_path: Path) -> None:
    (alone,) = found(tmp_path / "alone", 1)
    first, second = found(tmp_path / "two", 2)
    for case, values in first.items():
        assert all(map(torch.equal, values, second[case])), case
    assert all(map(torch.equal, alone[4, True], first[4, True]))
