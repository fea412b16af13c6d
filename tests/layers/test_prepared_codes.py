"""Prepared codes are kept while they are of the codes as they are, and never longer."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vlp_fast import VisualDictionary, ops
from vlp_fast.layers import prepared_codes

pytestmark = pytest.mark.skipif(
    ops.backend_for("nearest_code", "cpu")[0] == "reference", reason="no native code"
)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever codes are prepared outside of their update."""
    found: list[int] = []

    def counting(codes: Tensor, dtype: torch.dtype) -> ops.PreparedCodes:
        found.append(len(codes))
        return ops.prepare_codes(codes, dtype)

    monkeypatch.setattr(prepared_codes, "prepare_codes", counting)
    return found


def assert_exact(dictionary: VisualDictionary) -> None:
    x = torch.randn(40, 6)
    was_training = dictionary.training
    found = dictionary.eval()(x)[1]
    dictionary.train(was_training)
    assert torch.equal(found, torch.cdist(x.double(), dictionary.embed.double()).argmin(1))


def test_training_prepares_once_in_a_while(times) -> None:
    dictionary = VisualDictionary(20, 6)
    for _ in range(prepared_codes.LONGEST_USE):
        dictionary(torch.randn(10, 6))
    assert len(times) == 1
    assert_exact(dictionary)
    assert len(times) == 2


def test_evaluation_prepares_once(times) -> None:
    dictionary = VisualDictionary(20, 6).eval()
    for _ in range(prepared_codes.LONGEST_USE + 5):
        dictionary(torch.randn(10, 6))
    assert len(times) == 1


CHANGES: dict[str, Callable[[VisualDictionary], object]] = {
    "copy": lambda dictionary: dictionary.embed.copy_(torch.randn(20, 6)),
    "slice": lambda dictionary: dictionary.embed[3:9].fill_(0.1),
    "state": lambda dictionary: dictionary.load_state_dict(VisualDictionary(20, 6).state_dict()),
    "data": lambda dictionary: dictionary.initialise_from(torch.randn(50, 6)),
    "buffer": lambda dictionary: setattr(dictionary, "embed", torch.randn(20, 6)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_the_codes_is_seen(change, times) -> None:
    dictionary = VisualDictionary(20, 6)
    dictionary(torch.randn(10, 6))
    CHANGES[change](dictionary)
    assert_exact(dictionary)
    assert len(times) == 2


def test_changes_that_pytorch_does_not_count_are_told(times) -> None:
    dictionary = VisualDictionary(20, 6)
    dictionary(torch.randn(10, 6))
    dictionary.embed.data.copy_(torch.randn(20, 6))
    dictionary.codes_changed()
    assert_exact(dictionary)
    assert len(times) == 2


def test_a_layer_that_is_made_for_inference() -> None:
    with torch.inference_mode():
        dictionary = VisualDictionary(20, 6).eval()
        for _ in range(2):
            assert_exact(dictionary)


@pytest.mark.parametrize("semantics", ["paper", "official"])
@pytest.mark.parametrize("revival", [None, 0.2])
def test_training_is_that_of_the_reference(semantics, revival) -> None:
    def train() -> tuple[list[Tensor], dict[str, Tensor]]:
        torch.manual_seed(0)
        dictionary = VisualDictionary(20, 6, 0.8, semantics, revival=revival)
        found = [dictionary(torch.randn(60, 6))[1] for _ in range(30)]
        return found, dictionary.state_dict()

    fast, state = train()
    with ops.use("reference"):
        expected, wanted = train()
    assert all(map(torch.equal, fast, expected))
    for name, value in wanted.items():
        torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_copies_are_independent() -> None:
    dictionary = VisualDictionary(20, 6)
    dictionary(torch.randn(10, 6))
    copies = [copy.deepcopy(dictionary), pickle.loads(pickle.dumps(dictionary))]
    for other in copies:
        assert torch.equal(other.embed, dictionary.embed)
        other(5 + torch.randn(10, 6))
        assert not torch.equal(other.embed, dictionary.embed)
    for each in (dictionary, *copies):
        assert_exact(each)


def test_a_compiled_layer_trains_like_the_eager_one() -> None:
    torch._dynamo.reset()
    eager = VisualDictionary(20, 6)
    compiled_layer = copy.deepcopy(eager)
    compiled = torch.compile(compiled_layer, fullgraph=True, backend="aot_eager")
    for step in range(3):
        x = torch.randn(30 + step, 6)
        rows = [x.clone().requires_grad_() for _ in range(2)]
        (quantised, indices), (wanted, nearest) = compiled(rows[0]), eager(rows[1])
        assert torch.equal(indices, nearest)
        torch.testing.assert_close(quantised, wanted)
        quantised.square().sum().backward()
        wanted.square().sum().backward()
        torch.testing.assert_close(rows[0].grad, rows[1].grad)
    torch.testing.assert_close(compiled_layer.embed, eager.embed)
