"""The visual dictionary against SOHO's equations, and against the rule of its published code."""

import math

import pytest
import torch
from torch import Tensor

from vlp_fast.layers.dictionary_state import LAPLACE_EPSILON, Semantics
from vlp_fast.layers.kmeans import kmeans
from vlp_fast.layers.perplexity import perplexity
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


def test_one_step_is_equation_4_and_quantises_with_the_old_codes() -> None:
    dictionary = corner_dictionary()
    x = torch.tensor([[1.0, 1.0], [9.0, 2.0], [8.0, -1.0], [3.0, 3.0]])
    quantised, indices = dictionary(x)
    assert indices.tolist() == [0, 1, 1, 0]
    assert quantised.tolist() == [[0, 0], [10, 0], [10, 0], [0, 0]]
    # Code 0: 0.9 * (0, 0) + 0.1 * (2, 2). Code 1: 0.9 * (10, 0) + 0.1 * (8.5, 0.5).
    expected = torch.tensor([[0.2, 0.2], [9.85, 0.05], [0.0, 10.0], [10.0, 10.0]])
    torch.testing.assert_close(dictionary.embed, expected)
    assert dictionary.cluster_sum.tolist() == [2, 2, 0, 0]


def test_codes_never_hit_keep_their_vector_bit_for_bit() -> None:
    torch.manual_seed(0)
    dictionary = VisualDictionary(64, 8)
    start = dictionary.embed.clone()
    for _ in range(20):
        dictionary(torch.randn(16, 8) * 0.1)
    missed = dictionary.cluster_sum == 0
    assert 0 < missed.sum() < 64
    assert torch.equal(dictionary.embed[missed], start[missed])
    moved = (dictionary.embed != start).any(dim=1)
    assert torch.equal(moved, ~missed)


def test_cold_start_follows_the_data() -> None:
    """From N(0, 1) far from the features, the codes that are hit move to where the rows are."""
    torch.manual_seed(0)
    dictionary = VisualDictionary(16, 8, momentum=0.5)
    x = torch.randn(200, 8) + 20
    first, _ = dictionary(x)
    for _ in range(30):
        last, _ = dictionary(x)
    assert torch.isfinite(dictionary.embed).all()
    assert (last - x).square().mean() < 2 < 100 < (first - x).square().mean()


def test_official_rule_is_the_published_one() -> None:
    """Three steps against the rule written out; quantised are the updated codes, old indices."""
    torch.manual_seed(0)
    dictionary = VisualDictionary(6, 3, 0.4, "official")
    codes, average, size = dictionary.embed.double().clone(), torch.zeros(6, 3).double(), 0.0
    for step in range(3):
        x = torch.randn(10, 3)
        x64 = x.double()
        nearest = (x64[:, None] - codes[None]).square().sum(-1).argmin(dim=1)
        one_hot = torch.nn.functional.one_hot(nearest, 6).double()
        size = 0.4 * size + 0.6 * one_hot.sum(0)
        average = 0.4 * average + 0.6 * one_hot.T @ x64
        smoothed = (size + 1e-5) / (size.sum() + 6 * 1e-5) * size.sum()
        codes = average / smoothed[:, None]
        quantised, indices = dictionary(x)
        assert torch.equal(indices, nearest), step
        torch.testing.assert_close(dictionary.embed.double(), codes, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(quantised.double(), codes[nearest], rtol=1e-5, atol=1e-6)


def test_official_codes_decay_to_zero_as_computed_by_hand() -> None:
    dictionary = corner_dictionary("official", momentum=0.4)
    dictionary(torch.tensor([[10.0, 0.0]] * 64 + [[10.0, 10.0]] * 64))
    assert dictionary.embed[0].tolist() == dictionary.embed[2].tolist() == [0, 0]
    torch.testing.assert_close(dictionary.embed[1], torch.tensor([10.0, 0.0]), rtol=1e-5, atol=0)
    norms = {}
    for step in range(1, 31):
        dictionary(torch.tensor([[10.0, 10.0]] * 128))
        norms[step] = float(dictionary.embed[1].norm())
    # n_t = 0.6 * 64 * 0.4^t hits and 10 n_t of sum: |d| = 10 n_t / (n_t + eps), up to 1e-6.
    for step in (5, 10, 15, 18, 20, 30):
        n = 0.6 * 64 * 0.4**step
        assert norms[step] == pytest.approx(10 * n / (n + LAPLACE_EPSILON), rel=1e-3, abs=1e-6)
    assert norms[10] > 9.9
    assert norms[18] < 8
    assert norms[30] < 1e-4


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_evaluation_changes_nothing(semantics: Semantics) -> None:
    dictionary = corner_dictionary(semantics).eval()
    before = {name: buffer.clone() for name, buffer in dictionary.named_buffers()}
    quantised, indices = dictionary(torch.tensor([[9.0, 9.0]]))
    assert quantised.tolist() == [[10, 10]]
    assert indices.tolist() == [3]
    assert all(torch.equal(before[name], buffer) for name, buffer in dictionary.named_buffers())


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_rows_that_are_invalid_or_not_finite_never_enter_the_state(semantics: Semantics) -> None:
    torch.manual_seed(0)
    clean, dirty = corner_dictionary(semantics), corner_dictionary(semantics)
    x = torch.randn(12, 2) * 5 + 5
    bad = torch.tensor([[math.nan, 1.0], [math.inf, 0.0], [-1e30, 2.0], [4.0, 4.0]])
    mixed = torch.cat([bad[:2], x, bad[2:]])
    valid = torch.ones(16, dtype=torch.bool)
    valid[-2:] = False
    expected, _ = clean(x)
    with pytest.warns(RuntimeWarning, match="rows with NaN or infinity"):
        quantised, indices = dirty(mixed, valid)
    for name, left in clean.state_dict().items():
        torch.testing.assert_close(left, dirty.state_dict()[name], msg=name)
    assert (int(clean.non_finite_rows), int(dirty.non_finite_rows)) == (0, 2)
    assert torch.equal(quantised[2:-2], expected)
    assert ((indices >= 0) & (indices < 4)).all()


def test_a_step_without_valid_rows_changes_no_code() -> None:
    dictionary = VisualDictionary(4, 2, revival=0.5)
    dictionary.step.fill_(7)
    before = dictionary.embed.clone()
    dictionary(torch.randn(5, 2), torch.zeros(5, dtype=torch.bool))
    assert torch.equal(dictionary.embed, before)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_gradient_is_straight_through(semantics: Semantics) -> None:
    torch.manual_seed(0)
    dictionary = corner_dictionary(semantics)
    x = (torch.randn(6, 2) * 4).requires_grad_()
    weights = torch.randn(6, 2)
    quantised, _ = dictionary(x)
    (quantised * weights).sum().backward()
    assert torch.equal(x.grad, weights)
    assert not any(buffer.requires_grad for buffer in dictionary.buffers())


def test_input_normalisation_is_a_layer_norm_in_value_and_gradient() -> None:
    torch.manual_seed(0)
    dictionary = VisualDictionary(5, 6, normalize_input=True).eval()
    x = (torch.randn(4, 6) * 7 + 3).requires_grad_()
    weights = torch.randn(4, 6)
    quantised, indices = dictionary(x)
    (quantised * weights).sum().backward()
    y = x.detach().clone().requires_grad_()
    normed = torch.nn.functional.layer_norm(y, (6,))
    (normed * weights).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    nearest = torch.cdist(normed.detach().double(), dictionary.embed.double()).argmin(1)
    assert torch.equal(indices, nearest)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_state_stays_float32_and_exact_under_autocast(semantics: Semantics) -> None:
    plain, cast = corner_dictionary(semantics), corner_dictionary(semantics)
    x = (torch.randn(40, 2, generator=torch.Generator().manual_seed(0)) * 5).bfloat16()
    plain(x.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        quantised, _ = cast(x)
    assert quantised.dtype == torch.bfloat16
    for name, left in plain.state_dict().items():
        right = cast.state_dict()[name]
        assert right.dtype == torch.float32
        assert torch.equal(left, right), name


def test_kmeans_ends_where_no_centre_moves_whatever_the_order_of_the_rows() -> None:
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    centres, counts = kmeans(x, 12, seed=3, iterations=100)
    nearest = torch.cdist(x.double(), centres.double()).argmin(dim=1)
    assert counts.tolist() == nearest.bincount(minlength=12).tolist()
    means = torch.stack([x[nearest == code].mean(dim=0) for code in range(12)])
    torch.testing.assert_close(centres, means)
    again, _ = kmeans(x[order], 12, seed=3, iterations=100)
    torch.testing.assert_close(again, centres)


def test_kmeans_starts_at_different_rows_and_follows_their_density() -> None:
    dense, rare = torch.randn(900, 2), torch.randn(100, 2) * 20 + 100
    x = torch.cat([dense, dense[:1].expand(500, 2), rare])
    seeds, _ = kmeans(x, 200, seed=5, iterations=0)
    assert seeds.unique(dim=0).shape[0] == 200
    assert 160 <= (seeds.amax(dim=1) < 20).sum() <= 195
    everything, _ = kmeans(x[:7], 7, iterations=0)
    assert torch.equal(everything.unique(dim=0), x[:7].unique(dim=0))


def test_initialisation_from_data_is_deterministic_and_uses_all_codes() -> None:
    x = clusters(48, 10, spread=1.0)
    x[3] = math.nan
    states = []
    for seed in (0, 0, 1):
        dictionary = VisualDictionary(64, 8, revival=0.01)
        with pytest.warns(RuntimeWarning, match="received 480 rows, 1 of them with NaN"):
            dictionary.initialise_from(x, seed=seed)
        states.append(dictionary.embed)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    for state in states:
        assert torch.isfinite(state).all()
        assert state.unique(dim=0).shape[0] == 64
    _, indices = dictionary.eval()(x[4:])
    assert indices.unique().numel() >= 60
    random = VisualDictionary(64, 8).eval()
    assert random(x[4:])[1].unique().numel() < indices.unique().numel() - 10


def test_initialisation_survives_duplicate_rows_and_refuses_too_few() -> None:
    dictionary = VisualDictionary(8, 3)
    dictionary.initialise_from(torch.ones(20, 3))
    assert torch.equal(dictionary.embed, torch.ones(8, 3))
    with pytest.raises(ValueError, match="received 5 rows for 8 codes"):
        dictionary.initialise_from(torch.randn(5, 3))
    few = torch.randn(20, 3)
    few[:9, 1], few[9:15, 0] = math.nan, math.inf
    words = (
        "initialise_from: received 20 rows for 8 codes, 15 of them with NaN or infinity, expected"
    )
    with pytest.raises(ValueError, match=words):
        dictionary.initialise_from(few)


def test_official_state_after_initialisation_reproduces_the_codes() -> None:
    """Without it the averages of the official rule would wipe the codes out in one step."""
    x = clusters(8, 10)
    dictionary = VisualDictionary(8, 8, 0.4, "official")
    dictionary.initialise_from(x)
    before = dictionary.embed.clone()
    dictionary(x[:10])
    torch.testing.assert_close(dictionary.embed, before, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_hits_of_the_initialisation_are_scaled_to_a_step(semantics: Semantics) -> None:
    x = clusters(8, 10)
    whole, step = (VisualDictionary(8, 8, 0.9, semantics) for _ in range(2))
    whole.initialise_from(x)
    step.initialise_from(x, rows_per_step=len(x) / 4)
    assert whole.cluster_size.sum() == len(x)
    torch.testing.assert_close(step.cluster_size * 4, whole.cluster_size)
    assert torch.equal(step.embed, whole.embed)
    if step.embed_avg is not None and whole.embed_avg is not None:
        torch.testing.assert_close(step.embed_avg * 4, whole.embed_avg)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_revival_moves_dead_codes_onto_rows_and_resets_their_state(semantics: Semantics) -> None:
    torch.manual_seed(0)
    dictionary = VisualDictionary(16, 4, 0.5, semantics, revival=0.05)
    dictionary.embed.copy_(torch.randn(16, 4) * 0.1 + 100)
    dictionary.embed[0] = 0
    x = clusters(16, 8, 4)
    valid = torch.ones(len(x), dtype=torch.bool)
    valid[::2] = False
    used = []
    for _ in range(40):
        _, indices = dictionary(x, valid)
        used.append(indices[valid].unique().numel())
    assert used[0] <= 2
    assert used[-1] >= 14
    distance = torch.cdist(dictionary.embed, x[valid]).min(dim=1).values
    assert distance.max() < 5, "no code is left at 100, and revived ones do not jump back there"


def test_revival_gives_each_dead_code_a_row_of_its_own_and_spares_the_living() -> None:
    dictionary = VisualDictionary(4, 2, 0.9, revival=0.2)
    dictionary.embed.copy_(torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]]))
    dictionary.cluster_size.copy_(torch.tensor([2.0, 0.01, 0.01, 2.0]))
    dictionary.step.fill_(5)
    x = torch.tensor([[0.0, 0.5], [0.5, 0.0], [0.0, -0.5], [50.0, 50.0]])
    dictionary(x)
    revived = {tuple(code) for code in dictionary.embed[1:3].tolist()}
    assert len(revived) == 2
    assert revived <= {tuple(row) for row in x.tolist()}
    # The living code follows eq. 4: a tenth of the mean of its three rows.
    torch.testing.assert_close(dictionary.embed[0], torch.tensor([0.05 / 3, 0.0]))
    assert dictionary.embed[3].tolist() == [50, 50]
    assert dictionary.cluster_size[1:3].tolist() == [1, 1], "the mean use, 4 rows over 4 codes"


def test_revival_depends_on_seed_and_step_only() -> None:
    x = torch.arange(200.0).view(100, 2)

    def revived(seed: int, step: int) -> Tensor:
        dictionary = VisualDictionary(8, 2, 0.9, revival=0.5, seed=seed)
        dictionary.embed.copy_(-torch.arange(16.0).view(8, 2))
        dictionary.step.fill_(step)
        torch.rand(step + 10 * seed)  # The global generator must not matter.
        dictionary(x)
        return dictionary.embed

    assert torch.equal(revived(0, 3), revived(0, 3))
    assert not torch.equal(revived(0, 3)[1:], revived(0, 4)[1:])
    assert not torch.equal(revived(0, 3)[1:], revived(1, 3)[1:])


def test_resuming_from_a_state_dict_continues_bit_for_bit() -> None:
    x = [clusters(16, 4, seed=seed) for seed in range(6)]
    torch.manual_seed(0)
    straight = VisualDictionary(16, 8, revival=0.5)
    halfway = VisualDictionary(16, 8, revival=0.5)
    for rows in x[:3]:
        straight(rows)
    halfway.load_state_dict(straight.state_dict())
    for rows in x[3:]:
        straight(rows)
        halfway(rows)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, halfway.state_dict()[name]), name


def test_perplexity_and_used_codes() -> None:
    assert float(perplexity(torch.ones(10))) == pytest.approx(10)
    assert float(perplexity(torch.tensor([5.0, 0, 0]))) == pytest.approx(1)
    assert float(perplexity(torch.zeros(4))) == pytest.approx(1)
    halves = torch.tensor([0.5, 0.25, 0.25]) * 80
    assert float(perplexity(halves)) == pytest.approx(2**1.5)

    dictionary = corner_dictionary(momentum=0.9)
    dictionary(torch.tensor([[0.0, 0.0], [10.0, 0.0]]))
    assert float(dictionary.perplexity()) == pytest.approx(2)
    assert int(dictionary.used_codes()) == 2
    for _ in range(11):
        dictionary(torch.tensor([[0.0, 0.0]]))
    assert int(dictionary.used_codes()) == 1, "the window is 1 / (1 - momentum) = 10 steps"


def test_wrong_arguments_are_told() -> None:
    with pytest.raises(ValueError, match="semantics 'eq4'"):
        VisualDictionary(4, 2, semantics="eq4")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"momentum 1\.5"):
        VisualDictionary(4, 2, 1.5)
    with pytest.raises(ValueError, match=r"shape \(3, 3\) and torch.float32, expected \(N, 2\)"):
        VisualDictionary(4, 2)(torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"torch.int64, expected \(N, 2\), floating point"):
        VisualDictionary(4, 2)(torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"shape \(9, 1\) and torch.float32, expected \(N, 2\)"):
        VisualDictionary(4, 2).initialise_from(torch.zeros(9, 1))
    with pytest.raises(ValueError, match="received 0 codes of width 2"):
        VisualDictionary(0, 2)
    with pytest.raises(ValueError, match="revival -1, expected"):
        VisualDictionary(4, 2, revival=-1)
