"""A step in shards changes batch norm and dictionary once, whoever computes which shard."""

import copy

import torch
from torch import Tensor, nn

from vlp_fast.layers.shard_statistics import ShardStatistics
from vlp_fast.layers.visual_dictionary import VisualDictionary


class Net(nn.Module):
    def __init__(self, **options: object) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.dictionary = VisualDictionary(5, 3, momentum=0.7, **options)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        quantised: Tensor = self.dictionary(self.norm(x))[0]
        return quantised


def made(**options: object) -> Net:
    torch.manual_seed(0)
    net = Net(**options)
    net.dictionary.embed.copy_(torch.randn(5, 3))
    return net


def shards(count: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(4 + n, 3, generator=draw) * (n + 1) for n in range(count)]


def step(net: Net, of: list[Tensor]) -> list[Tensor]:
    statistics, sums, results = ShardStatistics(net), [], []
    for number, x in enumerate(of):
        statistics.begin(number, len(of))
        results.append(net(x))
        sums.append(statistics.take())
    total = [torch.stack(values).sum(0) for values in zip(*sums, strict=True)]
    statistics.apply(total, len(of))
    return results


def test_every_shard_sees_the_state_before_the_step() -> None:
    net, rows = made(), shards(3)
    alone = [copy.deepcopy(net)(x) for x in rows]
    for one, of_step in zip(alone, step(net, rows), strict=True):
        assert torch.equal(one, of_step)


def test_statistics_of_norms_are_the_mean_over_shards() -> None:
    net, rows = made(), shards(4)
    running = torch.stack([_after(net, x).norm.running_var for x in rows]).double()  # type: ignore[misc]
    step(net, rows)
    torch.testing.assert_close(net.norm.running_var.double(), running.mean(0), rtol=1e-6, atol=0)
    assert net.norm.num_batches_tracked == 1


def test_codes_move_once_by_the_rows_of_all_shards() -> None:
    net, rows = made(), shards(4)
    codes = net.dictionary.embed.double()
    seen = torch.cat([copy.deepcopy(net).norm(x) for x in rows]).double()
    step(net, rows)
    nearest = torch.cdist(seen, codes).argmin(1)
    for k in range(5):
        mine = seen[nearest == k]
        expected = codes[k] * 0.7 + mine.mean(0) * 0.3 if len(mine) else codes[k]
        torch.testing.assert_close(net.dictionary.embed[k].double(), expected, rtol=1e-5, atol=1e-6)
    hits = torch.bincount(nearest, minlength=5).float()
    torch.testing.assert_close(net.dictionary.cluster_size, hits * (1 - 0.7))


def test_one_shard_is_a_step_as_the_layers_take_it() -> None:
    for revival in (None, 0.5):
        plain = made(revival=revival)
        sharded, (x,) = copy.deepcopy(plain), shards(1)
        for _ in range(3):
            plain(x)
            step(sharded, [x])
        for name, value in plain.state_dict().items():
            assert torch.equal(value, sharded.state_dict()[name]), name


def test_codes_are_revived_by_rows_of_all_shards() -> None:
    net = made(revival=0.9)
    net.dictionary.embed.copy_(torch.full((5, 3), 50.0))
    net.dictionary.embed[0].zero_()
    rows = shards(4)
    for _ in range(8):  # until the use that all are granted first has faded
        step(net, rows)
    revived = net.dictionary.embed[1:]
    assert revived.abs().max() < 10
    assert len({tuple(code) for code in revived.tolist()}) == 4


def test_what_is_not_trained_stays() -> None:
    net, rows = made(), shards(2)
    before = copy.deepcopy(net.state_dict())
    net.eval()
    step(net, rows)
    net.train()
    statistics = ShardStatistics(net)
    for number in range(2):  # an objective that uses neither
        statistics.begin(number, 2)
        values = statistics.take()
    statistics.apply([2 * value for value in values], 2)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_published_rule_moves_with_every_shard() -> None:
    net, rows = made(semantics="official"), shards(2)
    plain = copy.deepcopy(net).dictionary
    normed = [copy.deepcopy(net).norm(x) for x in rows]
    step(net, rows)
    for x in normed:
        plain(x)
    assert torch.equal(net.dictionary.embed, plain.embed)


def _after(net: Net, x: Tensor) -> Net:
    moved = copy.deepcopy(net)
    moved(x)
    return moved
