"""Texts that differ in one word, beside a comparison of all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_fast.data.near_texts import NearTexts

WORDS = st.lists(st.sampled_from(["a", "b", "A", "c"]), max_size=4).map(" ".join)


def differences(one: str, other: str) -> int:
    first, second = one.lower().split(), other.lower().split()
    if len(first) != len(second):
        return -1
    return sum(a != b for a, b in zip(first, second, strict=True))


@given(st.lists(WORDS, max_size=12), WORDS, st.integers(0, 9))
def test_all_that_differ_in_one_word_are_found_once(texts: list[str], text: str, seed: int) -> None:
    found = list(NearTexts(texts).drawn(text, np.random.default_rng(seed)))
    expected = {tuple(t.lower().split()) for t in texts if differences(text, t) == 1}
    assert {tuple(t.lower().split()) for t in found} == expected
    assert len(found) == len(expected)
    assert set(found) <= set(texts)


def test_each_place_has_its_turn() -> None:
    """One relation among many colours comes among the first draws, one for each place."""
    colours = [f"a {colour} star above a square" for colour in "uvwxyz"]
    near = NearTexts([*colours, "a red star below a square", "a red star above a circle"])
    for seed in range(20):
        first = list(near.drawn("A red star above  a square", np.random.default_rng(seed)))[:3]
        assert {"a red star below a square", "a red star above a circle"} < set(first)


def test_draws_differ_and_repeat() -> None:
    near = NearTexts([f"a {n}" for n in range(9)])
    one, again, other = (list(near.drawn("a x", np.random.default_rng(s))) for s in (1, 1, 2))
    assert one == again != other


def test_keys_that_are_equal_by_chance_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlp_fast.data.near_texts.hash", lambda _: 7, raising=False)
    near = NearTexts(["a b", "c d", "a d", "a b c"])
    assert sorted(near.drawn("a b", np.random.default_rng(0))) == ["a d"]


def test_no_text_is_near_to_none() -> None:
    assert len(NearTexts([])) == 0
    assert list(NearTexts([]).drawn("a b", np.random.default_rng(0))) == []
    assert list(NearTexts(["a"]).drawn("", np.random.default_rng(0))) == []
