"""Beam search against all texts there are, and against a search that is slow and plain."""

import math
from collections import Counter

import pytest
import torch
from language_models import TreeModel, best_of_all, padded, penalty, slow_beam_search
from torch import Tensor

from vlp_fast.layers.beam_search import beam_search
from vlp_fast.layers.language_model import Texts
from vlp_fast.layers.late_flag import LateFlag
from vlp_fast.layers.sampling import greedy

END = 2


def assert_written(texts: Texts, expected: list[tuple[float, tuple[int, ...]]]) -> None:
    length = texts.ids.shape[1]
    assert texts.ids.tolist() == [padded(words, length, END) for _, words in expected]
    scores = torch.tensor([score for score, _ in expected], dtype=texts.scores.dtype)
    torch.testing.assert_close(texts.scores, scores, rtol=1e-6, atol=1e-6)


# Exact


@pytest.mark.parametrize("alpha", [0.0, 0.9, 2.5])
def test_a_wide_search_finds_the_best_text_there_is(alpha: float) -> None:
    possible, length = 4, 4
    beams = possible**length
    model = TreeModel(range(6), num_words=beams, num_possible=possible)
    texts = beam_search(model, end_id=END, max_length=length, num_beams=beams, alpha=alpha)
    options = {"end_id": END, "max_length": length, "alpha": alpha}
    expected = [best_of_all(model.log_p(i), possible, **options) for i in range(6)]
    assert_written(texts, expected)
    assert texts.scores.dtype == torch.float64


class Told(TreeModel):
    """A model of four words, one text, whose probabilities are written down."""

    def __init__(
        self,
        told: dict[tuple[int, ...], list[float]],
        otherwise: list[float],
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__([0], 4, dtype=dtype)
        self.told, self.otherwise = told, otherwise

    def logits(self, text: int, words: tuple[int, ...]) -> Tensor:
        chances = torch.tensor(self.told.get(words, self.otherwise), dtype=torch.float64)
        return chances.log().to(self.dtype)


def test_length_counts_as_wu_et_al_have_it() -> None:
    # "1 2" has a probability of .25 and "2" of .3: better per lp(n) from some alpha on.
    told = {(): [0.0, 0.5, 0.3, 0.2], (1,): [0.0, 0.0, 0.5, 0.5]}
    model = Told(told, [1.0, 0.0, 0.0, 0.0])
    turn = math.log(math.log(0.25) / math.log(0.3)) / math.log(7 / 6)
    for alpha, expected in ((turn - 0.01, [2, 2, 2]), (turn + 0.01, [1, 2, 2])):
        texts = beam_search(model, end_id=END, max_length=3, num_beams=3, alpha=alpha)
        assert texts.ids.tolist() == [expected]
    score = math.log(0.25) / (7 / 6) ** (turn + 0.01)
    torch.testing.assert_close(texts.scores, torch.tensor([score], dtype=torch.float64))


# As the slow search


@pytest.mark.parametrize("beams", [1, 2, 3, 5])
@pytest.mark.parametrize("alpha", [0.0, 0.9])
def test_a_narrow_search_equals_the_slow_one(beams: int, alpha: float) -> None:
    model, length = TreeModel(range(40), num_words=5, scale=1.5), 6
    texts = beam_search(model, end_id=END, max_length=length, num_beams=beams, alpha=alpha)
    options = {"end_id": END, "max_length": length, "num_beams": beams, "alpha": alpha}
    expected = [slow_beam_search(model.log_p(i), **options) for i in range(40)]
    assert_written(texts, expected)
    lengths = Counter(len(words) for _, words in expected)
    assert len(lengths) > 3, "texts of all lengths, some of them cut"
    assert beams > 3 or any(words[-1] != END for _, words in expected)


def test_the_penalty_changes_texts_and_their_scores() -> None:
    model = TreeModel(range(40), num_words=5)
    short, long = (beam_search(model, end_id=END, max_length=6, alpha=a) for a in (0.0, 2.0))
    differs = (short.ids != long.ids).any(1)
    assert 0.1 < differs.double().mean() < 0.9
    words = lambda texts: (texts.ids != END).sum(1) + 1
    assert (words(long) >= words(short)).all()
    same = ~differs & (short.ids[:, -1] == END)
    ratio = short.scores[same] / long.scores[same]
    expected = torch.tensor([penalty(int(n), 2.0) for n in words(short)[same]]).double()
    torch.testing.assert_close(ratio, expected)


def test_one_beam_without_penalty_is_greedy() -> None:
    model = TreeModel(range(50), num_words=5, scale=1.0, dtype=torch.float32)
    one = beam_search(model, end_id=END, max_length=7, num_beams=1, alpha=0)
    other = greedy(model, end_id=END, max_length=7)
    assert torch.equal(one.ids, other.ids)
    assert torch.equal(one.scores, other.scores)
    assert one.scores.dtype == torch.float32
    assert 5 < (one.ids[:, -1] != END).sum() < 45, "some texts end, some are cut"


def test_where_nothing_ends_the_best_beam_is_cut() -> None:
    model = TreeModel([3, 4], num_words=5)
    logits = model.logits

    def endless(text: int, words: tuple[int, ...]) -> Tensor:
        return logits(text, words).index_fill(0, torch.tensor([END]), -torch.inf)

    model.logits = endless  # type: ignore[method-assign]
    texts = beam_search(model, end_id=END, max_length=4, num_beams=5)
    options = {"end_id": END, "max_length": 4, "num_beams": 5, "alpha": 0.9}
    assert_written(texts, [slow_beam_search(model.log_p(i), **options) for i in range(2)])
    assert (texts.ids != END).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_dead_end_loses_to_every_other_beam(dtype: torch.dtype) -> None:
    # Behind "3", the likeliest word, nothing can be; no number would come before all numbers.
    impossible = [0.0] * 4
    model = Told({(): [0.3, 0.0, 0.1, 0.6], (3,): impossible}, [0.0, 0.5, 0.5, 0.0], dtype)
    texts = beam_search(model, end_id=END, max_length=3, num_beams=2, alpha=0)
    assert texts.ids.tolist() == [[0, END, END]]
    assert texts.scores.exp().tolist() == pytest.approx([0.15], rel=1e-3)
    for search in (beam_search, greedy):
        nothing = search(Told({}, impossible, dtype), end_id=END, max_length=3)
        assert nothing.scores.tolist() == [-torch.inf]


# Independence


def test_batch_mates_and_their_order_change_nothing() -> None:
    seeds = list(range(32))
    whole = beam_search(TreeModel(seeds, 6), end_id=END, max_length=5)
    for seed in seeds:
        alone = beam_search(TreeModel([seed], 6), end_id=END, max_length=5)
        assert torch.equal(alone.ids[0], whole.ids[seed])
        assert torch.equal(alone.scores[0], whole.scores[seed])
    turned = beam_search(TreeModel(seeds[::-1], 6), end_id=END, max_length=5)
    assert torch.equal(turned.ids.flip(0), whole.ids)
    assert len(set(map(tuple, whole.ids.tolist()))) > 16


def test_no_texts_are_none() -> None:
    class Nothing(TreeModel):
        def _logits(self, state: object) -> Tensor:
            return torch.zeros(0, 4, self.num_words)

    texts = beam_search(Nothing([], 6), end_id=END, max_length=5)
    assert texts.ids.shape == (0, 5)
    assert texts.scores.shape == (0,)


# Ties


def test_of_equal_words_the_lowest_is_taken() -> None:
    flat = TreeModel([0], num_words=200, scale=0)
    written = greedy(flat, end_id=150, max_length=3)
    assert written.ids.tolist() == [[0, 0, 0]]
    # Four beams, 0, 1, 2 and 3; of 800 equal continuations the best beam's, whose lowest four.
    texts = beam_search(flat, end_id=150, max_length=3, num_beams=4)
    assert texts.ids.tolist() == [[0, 0, 0]]
    # An end among them: the first of the four to finish, and no later one is better.
    texts = beam_search(flat, end_id=1, max_length=3, num_beams=4, alpha=0)
    assert texts.ids.tolist() == [[1, 1, 1]]
    # A fifth word is none of the best four.
    texts = beam_search(flat, end_id=4, max_length=1, num_beams=4, alpha=0)
    assert texts.ids.tolist() == [[0]]


def test_of_equal_continuations_the_better_beam_has_the_first() -> None:
    # Behind two words all is equal; the third tells whose texts were kept: all of word 0.
    even, ends, ends_surely = [0.25] * 4, [0.1, 0.1, 0.7, 0.1], [0.0, 0.0, 1.0, 0.0]
    told: dict[tuple[int, ...], list[float]] = {(): even, (0,): even, (1,): even, (3,): even}
    model = Told(told | {(0, 3): ends, (1, 0): ends_surely}, even)
    texts = beam_search(model, end_id=END, max_length=3, num_beams=3, alpha=3)
    assert texts.ids.tolist() == [[0, 3, END]]


@pytest.mark.parametrize("knows", [True, False])
def test_of_equal_texts_the_shorter_is_taken(knows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not knows:  # that it may stop
        monkeypatch.setattr(LateFlag, "watch", lambda *_: False)
    model = Told({(): [0.0, 0.5, 0.5, 0.0]}, [0.0, 0.0, 1.0, 0.0])
    texts = beam_search(model, end_id=END, max_length=3, num_beams=2, alpha=0)
    assert texts.ids.tolist() == [[END, END, END]]


def test_half_precision_has_ties_and_the_slow_search_breaks_them_alike() -> None:
    # Logits of a few values: most continuations of a beam are equal to others.
    model = TreeModel(range(30), num_words=150, dtype=torch.bfloat16)
    drawn = model.logits
    model.logits = lambda text, words: drawn(text, words).round()  # type: ignore[method-assign]
    texts = beam_search(model, end_id=END, max_length=4, num_beams=3)
    options = {"end_id": END, "max_length": 4, "num_beams": 3, "alpha": 0.9}
    assert_written(texts, [slow_beam_search(model.log_p(i), **options) for i in range(30)])
    assert texts.scores.dtype == torch.float32


# When it stops


def test_it_stops_when_nothing_can_be_better_and_that_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = TreeModel(range(20), num_words=5, scale=3, dtype=torch.float32)
    stopped = [
        beam_search(model, end_id=END, max_length=9, num_beams=3, alpha=a) for a in (0.0, 0.9)
    ]
    assert model.steps < 16
    monkeypatch.setattr(LateFlag, "watch", lambda *_: False)
    model.steps = 0
    to_the_end = [
        beam_search(model, end_id=END, max_length=9, num_beams=3, alpha=a) for a in (0.0, 0.9)
    ]
    assert model.steps == 16
    for one, other in zip(stopped, to_the_end, strict=True):
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.scores, other.scores)


# Bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_length": 0}, "max_length 0, expected 1 or more"),
        ({"num_beams": 0}, "num_beams 0, expected 1 or more"),
        ({"num_beams": 6}, "num_beams 6, expected 1 to 5, the words of the vocabulary"),
        ({"alpha": -0.1}, "alpha -0.1, expected 0"),
        ({"alpha": float("nan")}, "alpha nan, expected 0"),
        ({"alpha": float("inf")}, "alpha inf, expected 0"),
        ({"end_id": 5}, "end_id 5, expected 0 to 4, a word of the vocabulary"),
        ({"end_id": -1}, "end_id -1, expected 0 to 4"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=f"beam_search: received {said}"):
        beam_search(TreeModel([0], 5), **({"end_id": END, "max_length": 3} | options))


def test_logits_of_another_shape_are_refused() -> None:
    class Flat(TreeModel):
        def start(self, **_: int) -> tuple[Tensor, list[list[tuple[int, ...]]]]:
            return torch.zeros(3, 5), []

    with pytest.raises(ValueError, match=r"received logits \(3, 5\) from the model, expected \(S"):
        beam_search(Flat([0], 5), end_id=END, max_length=3)
    with pytest.raises(ValueError, match=r"\(1, 1, 1\) .* of 2 words or more"):
        greedy(TreeModel([0], 1), end_id=0, max_length=3)
