"""Masked words: BERT's rates, at least one word, special tokens never, targets restore the text."""

import numpy as np
import pytest

from vlp_fast.tasks.pretraining.mlm import MaskedText, mask_words
from vlp_fast.tasks.pretraining.texts import chosen_rows

CLS, SEP, MASK, UNK = 2, 3, 4, 1
SPECIAL = frozenset({0, UNK, CLS, SEP, MASK})
ORDINARY = np.arange(10, 1010)


def masked(ids: list[int], seed: int, rate: float = 0.15) -> MaskedText:
    return mask_words(
        ids,
        np.random.default_rng(seed),
        mask_id=MASK,
        ordinary_ids=ORDINARY,
        special_ids=SPECIAL,
        rate=rate,
    )


def long_text(seed: int, words: int = 400) -> list[int]:
    drawn = np.random.default_rng(1000 + seed).integers(10, 1010, words).tolist()
    return [CLS, *drawn, SEP]


def test_rates_are_those_of_bert() -> None:
    texts = [(long_text(i), masked(long_text(i), i)) for i in range(100)]
    words = sum(len(ids) - 2 for ids, _ in texts)
    chosen = [
        (text.ids[p], target)
        for _, text in texts
        for p, target in zip(text.positions, text.targets, strict=True)
    ]
    assert len(chosen) / words == pytest.approx(0.15, abs=0.006)  # 3.4 standard deviations
    masks = sum(now == MASK for now, _ in chosen) / len(chosen)
    kept = sum(now == before for now, before in chosen) / len(chosen)
    replaced = sum(now not in (MASK, before) for now, before in chosen) / len(chosen)
    assert masks == pytest.approx(0.8, abs=0.018)
    assert kept == pytest.approx(0.1, abs=0.014)
    assert replaced == pytest.approx(0.1, abs=0.014)
    random_words = {now for now, before in chosen if now not in (MASK, before)}
    assert random_words <= set(ORDINARY.tolist())
    assert len(random_words) > 300  # drawn from the whole vocabulary


@pytest.mark.parametrize("rate", [0.0, 0.15, 0.25, 1.0])
def test_positions_and_targets_restore_the_text(rate: float) -> None:
    for seed in range(30):
        ids = long_text(seed, words=seed + 1)
        before = list(ids)
        text = masked(ids, seed, rate)
        assert ids == before
        assert text.original() == ids
        assert text.positions == sorted(set(text.positions))
        untouched = set(range(len(ids))) - set(text.positions)
        assert all(text.ids[p] == ids[p] for p in untouched)
        assert len(text.positions) == (len(ids) - 2 if rate == 1.0 else len(text.positions))


def test_a_short_text_has_exactly_one_word_chosen_and_any_may_be_it() -> None:
    texts = [masked([CLS, 50, 60, 70, SEP], seed, rate=1e-9) for seed in range(120)]
    assert {len(text.positions) for text in texts} == {1}
    counts = [sum(text.positions == [p] for text in texts) for p in (1, 2, 3)]
    assert min(counts) > 20


def test_special_tokens_are_never_chosen() -> None:
    ids = [CLS, 20, UNK, 30, MASK, SEP]
    for seed in range(50):
        text = masked(ids, seed, rate=1.0)
        assert text.positions == [1, 3]
        assert [text.ids[p] for p in (0, 2, 4, 5)] == [CLS, UNK, MASK, SEP]


@pytest.mark.parametrize("ids", [[CLS, SEP], [CLS, UNK, SEP]])
def test_a_text_without_ordinary_words_has_no_target(ids: list[int]) -> None:
    assert masked(ids, 0, rate=1.0) == MaskedText(ids=ids, positions=[], targets=[])


def test_chosen_rows_skip_texts_without_loss() -> None:
    texts = [
        MaskedText(ids=[CLS, MASK, 8, SEP], positions=[1], targets=[7]),
        MaskedText(ids=[CLS, MASK, SEP], positions=[1], targets=[9]),
        MaskedText(ids=[CLS, 5, MASK, MASK, SEP], positions=[2, 3], targets=[5, 6]),
    ]
    rows, words = chosen_rows(texts, [0, 10, 20], [True, False, True])
    assert rows.tolist() == [1, 22, 23]
    assert words.tolist() == [7, 5, 6]
