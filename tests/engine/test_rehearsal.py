"""What a dry run says that processes send is what they send."""

import pickle
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from rank_processes import run_ranks

from vlp_fast.cli import main
from vlp_fast.engine.collectives import Collectives, tally
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.rehearsal import fake_world, sent, smaller
from vlp_fast.layers.shard_statistics import ShardStatistics

Make = Callable[..., RunConfig]
PROGRAM = """
import os, pickle, sys, torch
from pathlib import Path
from vlp_fast.engine.collectives import tally
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.rehearsal import sent, smaller
from vlp_fast.engine.world import world_of

folder, rank, port = sys.argv[1:]
os.environ |= {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
torch.set_num_threads(1)
runs = pickle.loads(Path(folder, "runs").read_bytes())
found = []
with world_of(runs[0].train) as world:
    for run in runs:
        torch.manual_seed(0)
        small = smaller(build_experiment(run), world, Path(folder, f"{rank}-{len(found)}"))
        found.append([(what, list(tally(calls).items())) for what, calls in sent(small)])
torch.save(found, f"{folder}/{rank}.pt")
"""


def two_phases(run: RunConfig, **train: object) -> RunConfig:
    """Tagging, then the paper's objectives with the CNN frozen, then with all."""
    settings = {"batch_size": 2, "shards": 2, "processes": 2, "device": "cpu", **train}
    return replace(
        run,
        optim=replace(run.optim, freeze_backbone=0.3),
        train=replace(run.train, **settings),
    )


def of_numbers(found: list[tuple[str, list[tuple[tuple[str, str], tuple[int, int]]]]]) -> object:
    """Without the bytes of what is pickled: of times, there are more or fewer."""
    return [
        (what, [(of, count, size if "reduce" in of[1] else 0) for of, (count, size) in entries])
        for what, entries in found
    ]


@pytest.mark.dist
@pytest.mark.xdist_group("processes")
def test_two_processes_send_what_one_says(micro: Make, tmp_path: Path) -> None:
    runs = [two_phases(micro("soho_tiny", tmp_path / "run", steps=12))]
    for reduction in ("exact", "sharded"):
        short = micro("soho_tiny", tmp_path / "run", steps=3)
        runs.append(two_phases(short, reduction=reduction))
    (tmp_path / "runs").write_bytes(pickle.dumps(runs))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    first, second = run_ranks(PROGRAM, tmp_path, 2, port)
    assert list(map(of_numbers, first)) == list(map(of_numbers, second))
    for run, really in zip(runs, first, strict=True):
        with fake_world(1, 2) as world:
            small = smaller(build_experiment(run), world, tmp_path)
            told = [(what, list(tally(calls).items())) for what, calls in sent(small)]
        assert of_numbers(told) == of_numbers(really)
        assert len(told) > 4


def test_gradients_and_statistics_have_their_sizes(micro: Make, tmp_path: Path) -> None:
    run = two_phases(micro("soho_tiny", tmp_path / "run", steps=12), shards=32, processes=32)
    experiment = build_experiment(run)
    with fake_world(31, 32) as world:
        small = smaller(experiment, world, tmp_path / "none")
        told = [(what, tally(calls)) for what, calls in sent(small) if what.startswith("a step")]
    assert not dist.is_initialized()
    assert not (tmp_path / "none").exists()
    names = [what.partition("(")[2] for what, _ in told]
    assert names == ["Tagging)", "SohoPretraining)", "SohoPretraining)"]
    gradients, sums = "gradients, while they are computed", "sums over the shards"
    backbone = sum(4 * p.numel() for p in experiment.learner.model.backbone.parameters())
    everything = sum(4 * p.numel() for p in experiment.learner.parameters())
    sizes = [found[gradients, "allreduce"][1] for _, found in told]
    assert sizes[1:] == [everything - backbone, everything]
    assert backbone < sizes[0] < everything

    statistics = ShardStatistics(experiment.learner)
    statistics.begin(0, 1)
    _, inputs = next(iter(small.batches(10, 11)))
    output = experiment.learner(experiment.task, inputs)
    taken = sum(4 * x.numel() for x in statistics.take())
    # A pair of numbers for each: the total, losses and counts, padding, and each shard's samples.
    figures = 2 * 8 * (1 + len(output.losses) + len(output.counts) + 1 + 32)
    assert told[-1][1][sums, "allreduce"] == (2, taken + figures)
    for _, found in told:
        assert found["was a process asked to stop", "allreduce"] == (1, 4)


def test_weights_and_gradients_in_parts_have_their_sizes(micro: Make, tmp_path: Path) -> None:
    run = two_phases(micro("soho_tiny", tmp_path / "run", steps=12), reduction="sharded")
    run = replace(run, train=replace(run.train, shards=4, processes=4))
    experiment = build_experiment(run)
    everything = sum(4 * p.numel() for p in experiment.learner.parameters())
    # Rows that no process has are sent too: three more at most.
    more = sum(4 * 3 * p[:1].numel() for p in experiment.learner.parameters())
    with fake_world(3, 4) as world:
        small = smaller(experiment, world, tmp_path / "none")
        found = [tally(calls) for what, calls in sent(small) if what.startswith("a step")][-1]
    count, gradients = found["gradients, while they are computed", "reduce_scatter_base"]
    # Two stages of the CNN, a layer of the encoder, and all that is left.
    assert count == 4
    assert everything <= gradients <= everything + more
    count, weights = found["weights, where they are computed with", "allgather_base"]
    assert count == 4 + 3  # what is left is kept until the backward pass
    assert gradients < 4 * weights < 2 * gradients
    assert found["norm of the gradients", "allreduce"] == (1, 8)


def test_each_kind_of_collective_is_counted_once_with_its_bytes() -> None:
    with fake_world(0, 4), Collectives() as seen:
        x = torch.zeros(4, dtype=torch.float64)
        dist.all_reduce(x)
        dist.all_gather_into_tensor(x, x[:1].clone())
        dist.reduce_scatter_tensor(torch.zeros(1, dtype=torch.float64), x)
        dist.all_to_all_single(torch.zeros_like(x), x)
        dist.broadcast(x[:3], 0)
        dist.all_gather([torch.zeros(2) for _ in range(4)], torch.zeros(2))
    assert [(call.operation, call.bytes) for call in seen.calls] == [
        ("allreduce", 32),
        ("allgather_base", 8),
        ("reduce_scatter_base", 32),
        ("alltoall_base", 32),
        ("broadcast", 24),
        ("allgather", 8),
    ]


def test_a_run_that_has_begun_is_rehearsed_and_left_alone(
    small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first weights are in the checkpoint, and nowhere else any more."""
    folder = tmp_path / "run"
    quick = ["--data.num-workers", "0", "--train.no-picture", "--steps", "4"]
    words = ["train", "soho_tiny", "--data.root", str(small_world), "--run-dir", str(folder)]
    words += [*quick, "--task.tagging-steps", "1", "--task.codebook-samples", "200"]
    words += ["--train.batch-size", "2", "--train.shards", "2"]
    assert main(words) == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    frozen = ["--model.backbone.freeze-stages", "1", "--dry-run", "--train.processes", "2"]
    assert main([*words, *frozen]) == 0
    assert "a checkpoint: 4 collectives" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
