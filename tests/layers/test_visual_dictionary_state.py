"""What hard times leave of a visual dictionary's state, and which states and dtypes it takes."""

import pytest
import torch
from torch import Tensor

from vlp_fast.layers.dictionary_state import Semantics
from vlp_fast.layers.visual_dictionary import VisualDictionary

SEMANTICS: tuple[Semantics, Semantics] = ("paper", "official")


def corner_dictionary(semantics: Semantics = "paper", *, momentum: float = 0.9) -> VisualDictionary:
    """Four codes at the corners of a square of side 10."""
    dictionary = VisualDictionary(4, 2, momentum, semantics)
    dictionary.embed.copy_(torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]]))
    return dictionary


def clusters(num: int, rows: int, width: int = 8, *, spread: float = 0.05, seed: int = 0) -> Tensor:
    """Rows around well separated centres, cluster after cluster."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(num, width, generator=generator) * 5
    noise = torch.randn(num, rows, width, generator=generator) * spread
    return (centres[:, None] + noise).flatten(0, 1)


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("empty", ["no rows", "no finite row"])
def test_a_step_without_rows_does_not_end_revival(semantics: Semantics, empty: str) -> None:
    """All codes at zero would be dead, and replaced, in every step that follows."""
    dictionary = VisualDictionary(20, 6, 0.9, semantics, revival=0.1)
    x = clusters(20, 10, 6)
    if empty == "no rows":
        dictionary(x[:0])
    else:
        with pytest.warns(RuntimeWarning, match="NaN"):
            dictionary(torch.full_like(x, torch.nan))
    assert int(dictionary.step) == 0
    for _ in range(60):
        dictionary(x)
    before = dictionary.embed.clone()
    dictionary(x)
    torch.testing.assert_close(dictionary.embed, before, rtol=0.01, atol=0.3)
    assert dictionary.cluster_size.sum() == pytest.approx(200, rel=0.05)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_all_codes_dead_at_once_come_back(semantics: Semantics) -> None:
    dictionary = VisualDictionary(20, 6, 0.5, semantics, revival=0.5)
    x = clusters(20, 10, 6)
    for rows in [x] * 20 + [x[:0]] * 6 + [x] * 20:
        dictionary(rows)
    assert dictionary.cluster_size.sum() == pytest.approx(200, rel=0.05)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_rows_whose_sum_overflows_leave_the_codes_alone(semantics: Semantics) -> None:
    dictionary = corner_dictionary(semantics)
    x = torch.tensor([[1.0, 1.0], [9.0, 9.0]])
    dictionary(x)
    with pytest.warns(RuntimeWarning, match="NaN or infinity"):
        dictionary(torch.full((4, 2), 3e38))
    dictionary(x)
    assert dictionary.embed.isfinite().all()
    assert int(dictionary.non_finite_rows) == 4


@pytest.mark.parametrize("change", ["half", "bfloat16", "double"])
def test_the_state_stays_float32_in_a_model_of_another_dtype(change: str) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), corner_dictionary())
    getattr(model, change)()
    dictionary = model[1]
    assert all(value.dtype == torch.float32 for value in dictionary.state_dict().values())
    quantised, _ = dictionary(torch.ones(5, 2).to(model[0].weight.dtype))
    assert quantised.dtype == model[0].weight.dtype
    assert dictionary.embed.isfinite().all()


def test_states_of_other_semantics_and_without_revival_load() -> None:
    official = VisualDictionary(6, 3, 0.4, "official")
    reviving = VisualDictionary(6, 3, revival=0.2)
    reviving.step.fill_(9)
    plain = VisualDictionary(6, 3)
    plain.load_state_dict(official.state_dict())
    assert torch.equal(plain.embed, official.embed)
    reviving.load_state_dict(plain.state_dict())
    assert torch.equal(reviving.embed, official.embed)
    plain.load_state_dict(reviving.state_dict())
    with pytest.raises(RuntimeError, match="embed"):
        reviving.load_state_dict({})


def test_moving_count_of_hits_by_hand() -> None:
    dictionary = corner_dictionary(momentum=0.9)
    x = torch.tensor([[1.0, 1.0], [9.0, 2.0], [8.0, -1.0]])
    dictionary(x)
    torch.testing.assert_close(dictionary.cluster_size, torch.tensor([0.1, 0.2, 0.0, 0.0]))
    dictionary(x)
    torch.testing.assert_close(dictionary.cluster_size, torch.tensor([0.19, 0.38, 0.0, 0.0]))


def test_a_start_from_data_leaves_out_rows_whose_sum_overflows() -> None:
    x = torch.cat([clusters(8, 10), torch.full((4, 8), 3e38)])
    dictionary = VisualDictionary(8, 8, semantics="official")
    with pytest.warns(RuntimeWarning, match="received 84 rows, 4 of them"):
        dictionary.initialise_from(x)
    dictionary(x[:80])
    assert dictionary.embed.abs().max() < 100


def test_what_was_left_out_may_be_asked_for_in_inference_mode() -> None:
    """After a change of device too, which is when the counter moves."""
    with torch.device("meta"):
        dictionary = VisualDictionary(8, 2)
    dictionary.to_empty(device="cpu").load_state_dict(VisualDictionary(8, 2).state_dict())
    with torch.inference_mode():
        assert int(dictionary.non_finite_rows) == 0
    with pytest.warns(RuntimeWarning, match="NaN"):
        dictionary(torch.full((3, 2), torch.nan))
    assert int(dictionary.non_finite_rows) == 3


def test_a_start_from_data_begins_anew() -> None:
    dictionary = VisualDictionary(8, 8, revival=0.1, normalize_input=True)
    for _ in range(3):
        dictionary(torch.randn(20, 8))
    x = 5 + 3 * clusters(8, 10)
    dictionary.initialise_from(x)
    assert int(dictionary.step) == int(dictionary.cluster_sum.sum()) == 0
    normed = torch.nn.functional.layer_norm(x, (8,))
    distance = torch.cdist(dictionary.embed, normed).min(dim=1).values
    assert distance.max() < 3  # x itself is ten away
