"""Words that are drawn: how often, from which, and of which seed."""

import pytest
import torch
import torch.nn.functional as F
from language_models import TreeModel
from torch import Tensor

from vlp_fast.layers import sampling
from vlp_fast.layers.language_model import Texts
from vlp_fast.layers.late_flag import LateFlag
from vlp_fast.layers.sampling import greedy, sample

END = 2
CHANCES = [0.15, 0.5, 0.05, 0.3]  # of words 0 to 3, falling: 1, 3, 0, 2
DRAWS = 20_000


class Urn(TreeModel):
    """The same distribution for every word of every text."""

    def __init__(self, num_texts: int) -> None:
        super().__init__(range(num_texts), len(CHANCES))

    def _logits(self, state: object) -> Tensor:
        return torch.tensor(CHANCES).log().expand(len(self.seeds), 1, -1)

    def start(self, **_: int) -> tuple[Tensor, list[list[tuple[int, ...]]]]:
        return self._logits(None), []

    def step(self, *_: object) -> tuple[Tensor, list[list[tuple[int, ...]]]]:
        return self._logits(None), []


def draw(model: TreeModel, **options: object) -> Texts:
    given = {"end_id": END, "max_length": 6, "top_p": 1.0, "seed": 0}
    return sample(model, **(given | options))  # type: ignore[arg-type]


def frequencies(words: Tensor) -> Tensor:
    return words.bincount(minlength=4).double() / len(words)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        (1.0, [0.15, 0.5, 0.05, 0.3]),
        (0.94, [0.15, 0.5, 0, 0.3]),
        (0.79, [0, 0.5, 0, 0.3]),
        (0.51, [0, 0.5, 0, 0.3]),
        (0.49, [0, 1, 0, 0]),
    ],
)
def test_words_come_as_often_as_they_are_probable(top_p: float, kept: list[float]) -> None:
    expected = torch.tensor(kept).double()
    expected /= expected.sum()
    texts = draw(Urn(DRAWS), seed=torch.arange(DRAWS), max_length=1, top_p=top_p)
    error = (frequencies(texts.ids[:, 0]) - expected).abs()
    assert (error <= 4 * (expected * (1 - expected) / DRAWS).sqrt()).all()


@pytest.mark.parametrize("spread", [1, 2**32, -(10**12)])
def test_seeds_in_a_row_and_words_in_a_row_have_nothing_in_common(spread: int) -> None:
    texts = draw(Urn(DRAWS), seed=torch.arange(DRAWS) * spread, max_length=3, top_p=0.94)
    first, second = texts.ids[:, 0], texts.ids[:, 1]
    expected = torch.tensor([0.15, 0.5, 0, 0.3]).double() / 0.95
    pairs = {
        "of one text": (first, second),
        "of neighbours": (first[:-1], first[1:]),
        "across": (first[1:], second[:-1]),
    }
    for name, (one, other) in pairs.items():
        counts = (one * 4 + other).bincount(minlength=16).view(4, 4)
        joint = counts.double() / len(one)
        bound = 5 * (expected.outer(expected) / len(one)).sqrt()
        assert ((joint - expected.outer(expected)).abs() <= bound).all(), name


def test_a_seed_is_a_text_whatever_the_batch() -> None:
    numbers = list(range(32))
    seeds = torch.tensor(numbers) * 7919
    whole = draw(TreeModel(numbers, 6), seed=seeds)
    for i in numbers:
        alone = draw(TreeModel([i], 6), seed=i * 7919)
        assert torch.equal(alone.ids[0], whole.ids[i])
        assert torch.equal(alone.scores[0], whole.scores[i])
    turned = draw(TreeModel(numbers[::-1], 6), seed=seeds.flip(0))
    assert torch.equal(turned.ids.flip(0), whole.ids)
    assert (draw(TreeModel(numbers, 6), seed=seeds + 1).ids != whole.ids).any(1).sum() > 16


def test_one_number_is_the_seed_of_all() -> None:
    model = TreeModel([5] * 8, 6, scale=0.5)
    ids = draw(model, seed=11).ids
    assert (ids == ids[0]).all()
    assert torch.equal(ids[0], draw(model, seed=torch.full((8,), 11)).ids[0])
    several = draw(model, seed=torch.arange(8)).ids
    assert len(set(map(tuple, several.tolist()))) > 4
    # No seed is special, 0 in front of the first word neither.
    flat = TreeModel([0], 200, scale=0)
    assert draw(flat, seed=0, max_length=1).ids.tolist() != [[0]]
    for seed in (0, -1, 2**70):
        assert draw(flat, seed=seed, max_length=20, end_id=199).ids.unique().numel() > 9


def test_a_tiny_top_p_is_greedy() -> None:
    model = TreeModel(range(40), num_words=6)
    drawn, written = draw(model, top_p=1e-9), greedy(model, end_id=END, max_length=6)
    assert torch.equal(drawn.ids, written.ids)
    torch.testing.assert_close(drawn.scores, written.scores)
    # Of equal words the lowest, too.
    flat = TreeModel([0], num_words=70, scale=0)
    assert draw(flat, top_p=1e-9, end_id=69).ids.tolist() == [[0] * 6]


def test_impossible_words_never_come() -> None:
    model = TreeModel(range(500), num_words=300, num_possible=4, dtype=torch.float32)
    for top_p in (1.0, 0.999999):
        ids = draw(model, seed=torch.arange(500), top_p=top_p).ids
        assert ids.unique().tolist() == [0, 1, 2, 3]


def drawn_by_hand(row: Tensor, top_p: float, share: float) -> int:
    """Word by word in float64, of logits of which equal ones have exactly equal chances."""
    chances, logits = row.double().softmax(0).tolist(), row.tolist()
    order = sorted(range(len(row)), key=lambda word: (-logits[word], word))
    nucleus, mass = [], 0.0
    for word in order:
        if mass >= top_p and nucleus:
            break
        nucleus.append(word)
        mass += chances[word]
    passed = 0.0
    for word in sorted(nucleus) if top_p == 1 else nucleus:
        passed += chances[word]
        if passed > share * mass:
            return word
    return nucleus[-1]


@pytest.mark.parametrize("top_p", [0.3, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("num_words", [3, 64, 5000])
def test_a_draw_is_the_word_at_its_share_of_the_nucleus(num_words: int, top_p: float) -> None:
    draw_from = torch.Generator().manual_seed(num_words)
    logits = torch.randn(40, num_words, generator=draw_from) * 3
    logits[:20] = logits[:20].round()  # words that are equally probable
    logits[-1] = -torch.inf
    logits[-1, num_words // 2] = 0
    shares = torch.rand(40, generator=draw_from)
    shares[:2] = torch.tensor([0.0, 1 - 2**-24])
    found = sampling._drawn(logits, top_p, shares).tolist()
    expected = [
        drawn_by_hand(row, top_p, float(share)) for row, share in zip(logits, shares, strict=True)
    ]
    wrong = [i for i in range(40) if found[i] != expected[i]]
    assert len(wrong) <= 1, "sums that are rounded otherwise may take the neighbour, hardly ever"
    assert not set(wrong) & {0, 39}


def test_a_few_words_are_looked_at_where_they_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(8, 5000, generator=torch.Generator().manual_seed(0)) * 4
    shares = torch.linspace(0, 0.99, 8)
    asked: list[int] = []
    sort = Tensor.sort
    monkeypatch.setattr(Tensor, "sort", lambda x, **o: (asked.append(x.shape[-1]), sort(x, **o))[1])
    few = sampling._drawn(logits, 0.3, shares)
    assert max(asked) < 5000
    many = sampling._drawn(torch.cat([logits, logits[:1] * 0]), 0.3, F.pad(shares, (0, 1)))
    assert max(asked) == 5000, "of the last row a few are not enough"
    assert torch.equal(few, many[:8])


def test_half_precision_draws_from_all_words() -> None:
    """Sums in bfloat16 have 256 steps at most, and no word between two of them would come."""
    flat = TreeModel([0] * 200, num_words=3000, scale=0, dtype=torch.bfloat16)
    ids = draw(flat, seed=torch.arange(200), max_length=1, top_p=0.999, end_id=2999).ids
    assert ids.unique().numel() > 180


def test_a_share_that_is_rounded_up_to_the_whole_is_of_a_word_that_can_be() -> None:
    sums = torch.tensor([[0.5, 0.75, 0.75], [0.25, 0.5, 1.0]])
    assert sampling._place(sums, torch.ones(2)).tolist() == [[1], [2]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_scores_are_of_the_whole_distribution_to_the_end(dtype: torch.dtype) -> None:
    model = TreeModel(range(20), num_words=6, dtype=dtype)
    for texts in (draw(model, top_p=0.7), greedy(model, end_id=END, max_length=6)):
        expected = []
        for i, ids in enumerate(texts.ids.tolist()):
            words = ids[: ids.index(END) + 1] if END in ids else ids
            log_p = model.log_p(i)
            expected.append(sum(log_p(tuple(words[:k]))[w] for k, w in enumerate(words)))
        wide = torch.promote_types(dtype, torch.float32)
        torch.testing.assert_close(texts.scores, torch.tensor(expected, dtype=wide))
        assert 0 < (texts.ids[:, -1] == END).sum() < 20


@pytest.mark.parametrize("search", [draw, lambda m: greedy(m, end_id=END, max_length=6)])
def test_it_stops_when_all_have_ended_and_that_changes_nothing(
    search, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TreeModel(range(5, 8), num_words=3, dtype=torch.float32)
    early = search(model)
    assert model.steps < 5
    assert (early.ids == END).any(1).all()
    monkeypatch.setattr(LateFlag, "watch", lambda *_: False)
    model.steps = 0
    late = search(model)
    assert model.steps == 5
    assert torch.equal(early.ids, late.ids)
    assert torch.equal(early.scores, late.scores)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_p": 0.0}, "top_p 0.0, expected above 0 to 1"),
        ({"top_p": 1.1}, "top_p 1.1, expected above 0 to 1"),
        ({"top_p": float("nan")}, "top_p nan, expected above 0 to 1"),
        ({"max_length": 0}, "max_length 0, expected 1 or more"),
        ({"end_id": 6}, "end_id 6, expected 0 to 5"),
        ({"seed": torch.zeros(2, dtype=torch.int64)}, r"seeds \(2,\) of torch.int64, expected a"),
        ({"seed": torch.zeros(3)}, r"seeds \(3,\) of torch.float32, expected a"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=f"sample: received {said}"):
        draw(TreeModel(range(3), 6), **options)
