"""What a process keeps of parameters, by one process over a group whose others say the same."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from vlp_fast.engine.collectives import Collectives
from vlp_fast.engine.rehearsal import fake_world
from vlp_fast.engine.sharded_parameters import ShardedParameters
from vlp_fast.engine.world import World
from vlp_fast.errors import InputError
from vlp_fast.layers.gathered_units import gathered_units
from vlp_fast.layers.residual_block import BasicBlock, FrozenNorm, Stage
from vlp_fast.layers.transformer import LayerConfig, make_encoder


@pytest.fixture
def world() -> Iterator[World]:
    with fake_world(1, 2) as second:
        yield second


def net() -> nn.Sequential:
    """Parameters of 4, 3 and 1 rows."""
    return nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 3), nn.Linear(3, 1))


def test_rows_and_the_whole(world: World) -> None:
    module = net()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    parameters = ShardedParameters(module, world)
    rows = {name: len(parameter) for name, parameter in parameters.named.items()}
    assert list(rows.values()) == [2, 2, 1, 1, 0, 0]
    for name, parameter in parameters.named.items():
        torch.testing.assert_close(parameter.detach(), parameters.part(name, before[name]))
        assert parameters.part(name, torch.zeros(())).shape == ()
    states = {f"{name}.exp_avg": p.detach() + 1 for name, p in parameters.named.items()}
    states["0.weight.step"] = torch.tensor(3.0)
    whole = dict(parameters.gathered(states))
    assert whole["0.weight.step"] == 3
    for name, value in before.items():
        assert whole[f"{name}.exp_avg"].shape == value.shape
        mine = parameters.part(name, whole[f"{name}.exp_avg"])
        torch.testing.assert_close(mine, parameters.named[name].detach() + 1)


def test_what_moves_rows_moves_the_module(world: World) -> None:
    module = net()
    parameters = ShardedParameters(module, world)
    with torch.no_grad():
        for parameter in parameters.named.values():
            parameter.fill_(2.0)
    with parameters.whole():
        assert module[0](torch.ones(1, 2)).tolist() == [[6, 6, 6, 6]]
    module.load_state_dict(parameters.loadable({n: x + 1 for n, x in net().state_dict().items()}))
    assert not any((p == 2).any() for p in parameters.named.values())
    with pytest.raises(RuntimeError, match="size mismatch"):
        module.load_state_dict(parameters.loadable(nn.Sequential(nn.Linear(2, 5)).state_dict()))


def test_within_whole_a_module_is_as_others_are(world: World) -> None:
    module = net()
    parameters = ShardedParameters(module, world)
    with parameters.whole(), Collectives() as seen:
        state = module.state_dict()
        assert not any(isinstance(value, DTensor) for value in state.values())
        state["0.weight"].numpy()
        module(torch.ones(1, 2)).sum().backward()
        assert all(p.grad is not None for p in module.parameters())
    assert seen.calls == []
    assert all(isinstance(value, DTensor) for value in module.state_dict().values())
    with Collectives() as seen:
        module(torch.ones(1, 2)).sum().backward()
    assert [call.operation for call in seen.calls] == ["allgather_base", "reduce_scatter_base"]
    parameters.collect()
    assert [p.grad is None for p in parameters.named.values()] == [False] * 6


def test_a_shard_that_leaves_a_parameter_out_sends_as_much_as_others(world: World) -> None:
    class Either(nn.Sequential):
        def forward(self, x: Tensor, place: int | None = None) -> Tensor:
            return torch.stack([one(x).sum() for one in self][:place]).sum()

    module = Either(nn.Linear(2, 4), nn.Linear(2, 3))
    parameters = ShardedParameters(module, world)
    sent = []
    for place in (None, 1):
        with Collectives() as seen:
            module(torch.ones(1, 2), place).backward()
        sent.append([(call.operation, call.bytes) for call in seen.calls])
        parameters.collect()
        assert all(p.grad is not None for p in parameters.named.values())
    assert sent[0] == sent[1]


def test_a_number_without_rows_is_refused(world: World) -> None:
    module = nn.Sequential(nn.Linear(2, 2))
    module.register_parameter("temperature", nn.Parameter(torch.tensor(1.0)))
    with pytest.raises(InputError, match="parameter temperature is a single number"):
        ShardedParameters(module, world)


def test_units_are_called_and_the_last_layer_may_not_be() -> None:
    encoder = make_encoder(LayerConfig(width=8, num_heads=2, ffn_dim=8), 3)
    stage = Stage(BasicBlock, 4, 4, 2, 1, FrozenNorm)
    units = list(gathered_units(nn.ModuleList([encoder, stage])))
    assert units == [encoder.layers[0], encoder.layers[1], stage]
