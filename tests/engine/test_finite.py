"""A step counts as finite if everything it would change is, and else it changes nothing."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.finite import all_finite, still_finite
from vlp_fast.engine.optimizer_state import flatten
from vlp_fast.engine.skipped import Skipped
from vlp_fast.engine.updater import Updater
from vlp_fast.layers.shard_statistics import ShardStatistics

Make = Callable[..., RunConfig]
INF, NAN = torch.inf, torch.nan


@pytest.mark.parametrize("value", [INF, -INF, NAN])
@pytest.mark.parametrize("place", range(4))
def test_one_number_that_is_not_finite_is_found(value: float, place: int) -> None:
    tensors = [
        torch.full((2, 3), 1e38),
        torch.zeros((), dtype=torch.float64),
        torch.zeros(0),
        torch.zeros(5, 4).to(torch.bfloat16)[::2, ::3],
        torch.ones(1, dtype=torch.float64),
    ]
    assert all_finite(tensors)
    chosen = [x for x in tensors if x.numel()][place]
    chosen.view(-1)[-1:].fill_(value) if chosen.is_contiguous() else chosen[-1:].fill_(value)
    assert not all_finite(tensors)


def test_what_was_infinite_before_may_stay_so() -> None:
    before = [torch.tensor([0.0, -INF]), torch.tensor([[NAN]])]
    assert still_finite(before, [torch.tensor([1.0, -INF]), torch.tensor([[INF]])])
    assert still_finite(before, [torch.tensor([1.0, 1.0]), torch.tensor([[1.0]])])
    assert not still_finite(before, [torch.tensor([INF, -INF]), torch.tensor([[1.0]])])
    assert not still_finite(before, [torch.tensor([NAN, 0.0]), torch.tensor([[1.0]])])


def test_nothing_waits_for_the_device() -> None:
    with FakeTensorMode():
        flag = all_finite([torch.ones(3), torch.ones(2, dtype=torch.float64)])
        flag = flag & still_finite([torch.ones(3)], [torch.ones(3)])
        skipped = Skipped(torch.device("cpu"))
        found = skipped.count(3, is_finite=flag, is_odd=~flag, scale=torch.ones(()))
        assert found.shape == skipped.in_a_row.shape == ()


def test_steps_in_a_row_are_counted() -> None:
    skipped, found = Skipped(torch.device("cpu")), []
    skipped.go_on_from(2)
    for is_finite in (False, False, True, False):
        flag = torch.tensor(is_finite)
        skipped.count(0, is_finite=flag, is_odd=~flag, scale=torch.ones(()))
        found.append(int(skipped.in_a_row))
    assert found == [3, 4, 0, 1]


@pytest.mark.parametrize("spoilt", ["variance", "rows", "code"])
def test_statistics_that_are_infinite_where_losses_are_not(
    micro: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: str
) -> None:
    """Of a batch norm, of the paper's dictionary, and of one that moves by itself."""
    run = micro("soho_tiny", tmp_path, steps=2, batch_size=2, precision="fp32")
    experiment = build_experiment(run)
    learner, updater = experiment.learner.train(), Updater(experiment)
    batches = lambda step: (inputs for _, inputs in experiment.batches(step, step + 1))
    take = ShardStatistics.take

    def changed(self: ShardStatistics) -> list[Tensor]:
        if spoilt == "variance":
            norm = next(m for m in learner.modules() if isinstance(m, nn.BatchNorm2d))
            norm.get_buffer("running_var")[0] = INF
        statistics = take(self)
        if spoilt == "rows":
            statistics[-1].view(-1)[0] = INF
        if spoilt == "code":
            learner.model.get_buffer("dictionary.embed")[0, 0] = INF
        return statistics

    before = copy.deepcopy(state(updater, learner))
    with monkeypatch.context() as patch:
        patch.setattr(ShardStatistics, "take", changed)
        figures = updater.update(0, experiment.task, batches(0))
    assert int(updater.skipped.in_a_row) == 1
    assert figures.means() == {"skipped_steps": 1.0}
    for name, value in state(updater, learner).items():
        assert torch.equal(value, before.get(name, torch.zeros_like(value))), name
    updater.end()
    means = updater.update(1, experiment.task, batches(1)).means()
    assert means["skipped_steps"] == 0
    assert means["loss"] > 0
    assert int(updater.skipped.in_a_row) == 0


def state(updater: Updater, learner: Any) -> dict[str, Tensor]:
    found: dict[str, Tensor] = learner.state_dict()
    return found | flatten(updater.optimizers, learner)[0]
