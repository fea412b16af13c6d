"""k-means starts a codebook once, in training; never one that has codes, whoever put them there."""

import copy
import pickle
import warnings
from collections.abc import Callable

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

import vlp_fast
from vlp_fast.layers.processes import Processes

DIM, CODES = 8, 16


def fresh() -> vlp_fast.VectorQuantize:
    return vlp_fast.VectorQuantize(DIM, CODES, kmeans_init=True)


def trained() -> vlp_fast.VectorQuantize:
    quantizer = fresh()
    for _ in range(3):
        quantizer(torch.randn(50, DIM))
    return quantizer


def fill(buffers: torch.nn.Module, source: torch.nn.Module) -> None:
    for mine, theirs in zip(buffers.buffers(), source.buffers(), strict=True):
        mine.copy_(theirs)


def buffer_by_buffer(source: vlp_fast.VectorQuantize) -> vlp_fast.VectorQuantize:
    quantizer = fresh()
    fill(quantizer, source)
    return quantizer


def by_averaging(source: vlp_fast.VectorQuantize) -> vlp_fast.VectorQuantize:
    averaged = AveragedModel(fresh())
    averaged.update_parameters(source)
    found: vlp_fast.VectorQuantize = averaged.module
    return found


def on_meta(source: vlp_fast.VectorQuantize) -> vlp_fast.VectorQuantize:
    with torch.device("meta"):
        quantizer = fresh()
    quantizer.to_empty(device="cpu")
    fill(quantizer, source)
    return quantizer


def buffer_set(source: vlp_fast.VectorQuantize) -> vlp_fast.VectorQuantize:
    """As accelerate and transformers put tensors in the place of those on meta."""
    with torch.device("meta"):
        quantizer = fresh()
    for name, value in source._codebook.named_buffers():
        setattr(quantizer._codebook, name, value.clone())
    return quantizer


def loaded(source: vlp_fast.VectorQuantize, *, assign: bool = False) -> vlp_fast.VectorQuantize:
    quantizer = fresh()
    quantizer.load_state_dict(copy.deepcopy(source.state_dict()), assign=assign)
    return quantizer


WAYS: dict[str, Callable[[vlp_fast.VectorQuantize], vlp_fast.VectorQuantize]] = {
    "buffer by buffer": buffer_by_buffer,
    "averaging": by_averaging,
    "on meta": on_meta,
    "buffers set": buffer_set,
    "load_state_dict": loaded,
    "assigned": lambda source: loaded(source, assign=True),
    "deepcopy": copy.deepcopy,
    "pickle": lambda source: pickle.loads(pickle.dumps(source)),
}


@pytest.mark.parametrize("way", WAYS)
def test_codes_that_are_there_are_never_started_anew(way) -> None:
    source = trained()
    other = WAYS[way](source)
    x = 5 + torch.randn(60, DIM)
    before = source.codebook.clone()
    other.eval()(x)
    assert torch.equal(other.codebook, before)
    other.train()
    for _ in range(2):
        source(x)
        other(x)
    for name, value in source.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_evaluation_starts_nothing_and_says_so() -> None:
    quantizer = fresh().eval()
    with pytest.warns(RuntimeWarning, match="in evaluation before its codes have started"):
        quantizer(torch.randn(50, DIM))
    assert not quantizer._codebook.initted
    assert (quantizer.codebook == 0).all()
    quantizer.train()(torch.randn(50, DIM))
    assert quantizer._codebook.initted
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantizer.eval()(torch.randn(50, DIM))


@pytest.mark.parametrize("way", ["written", "set", "loaded"])
def test_a_flag_that_is_taken_down_starts_anew(way) -> None:
    quantizer = trained()
    if way == "written":
        quantizer._codebook.initted.fill_(False)
    elif way == "set":
        # Written to as often as the one in its place.
        quantizer._codebook.initted = torch.tensor(True).fill_(False)
    else:
        quantizer.load_state_dict(fresh().state_dict())
    quantizer(100 + torch.randn(50, DIM))
    assert quantizer._codebook.initted
    assert quantizer.codebook.min() > 90


def test_the_flag_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[None] = []
    look = Processes.gather_flags
    monkeypatch.setattr(
        Processes, "gather_flags", lambda *args: (looks.append(None), look(*args))[1]
    )
    quantizer = fresh()
    for _ in range(5):
        quantizer(torch.randn(50, DIM))
    assert len(looks) == 1
    assert vlp_fast.VectorQuantize(DIM, CODES)(torch.randn(50, DIM))
    assert len(looks) == 1


def test_too_few_rows_are_refused_by_the_layers_name() -> None:
    with pytest.raises(ValueError, match="VectorQuantize: received 5 rows for 16 codes, expected"):
        fresh()(torch.randn(5, DIM))
    x = torch.randn(20, DIM)
    x[:9, 2] = torch.nan
    with pytest.raises(ValueError, match="20 rows for 16 codes, 9 of them with NaN or infinity"):
        fresh()(x)
