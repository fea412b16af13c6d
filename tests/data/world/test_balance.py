"""The choice among all that could be asked: rounds of one each, spread over texts and pictures."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from vlp_fast.data.world.balance import Choice, Pool, balanced, numbered


def chosen(
    pool: Pool,
    wanted: int,
    *,
    used: NDArray[np.int64] | None = None,
    fewest: int = 2,
    rarest: float = 0.0,
) -> list[Choice]:
    used = np.zeros(100, dtype=np.int64) if used is None else used
    rng = np.random.default_rng(0)
    return balanced(pool, wanted=wanted, used=used, rng=rng, fewest=fewest, rarest=rarest)


def counted(choices: list[Choice]) -> Counter[tuple[str, str]]:
    return Counter((choice.text, choice.answer) for choice in choices)


def test_the_rarest_answer_bounds_the_others() -> None:
    pool = {"t": {"yes": [1, 2, 3], "no": list(range(10, 90))}}
    assert counted(chosen(pool, 1000)) == {("t", "yes"): 3, ("t", "no"): 3}
    assert len({choice.picture for choice in chosen(pool, 1000)}) == 6


def test_an_answer_that_would_hold_back_all_others_is_left_out() -> None:
    pool = {"t": {"0": list(range(40)), "1": list(range(40, 60)), "2": [60, 61], "3": [62]}}
    assert counted(chosen(pool, 1000, rarest=0.05)) == {("t", a): 2 for a in "012"}
    assert counted(chosen(pool, 1000)) == {("t", a): 1 for a in "0123"}


def test_texts_with_too_few_answers_are_not_asked() -> None:
    pool = {"one": {"yes": [1, 2]}, "two": {"yes": [1], "no": [2]}}
    assert set(counted(chosen(pool, 10))) == {("two", "yes"), ("two", "no")}
    assert chosen(pool, 10, fewest=3) == []
    assert chosen({}, 10) == []


def test_rounds_go_around_the_texts() -> None:
    pool = {t: {"yes": list(range(50)), "no": list(range(50, 100))} for t in "abc"}
    pool["d"] = {"yes": [1], "no": [2]}
    per_text = Counter(choice.text for choice in chosen(pool, 20))
    assert per_text == {"a": 6, "b": 6, "c": 6, "d": 2}
    assert len(chosen(pool, 3)) == 4  # whole rounds


def test_pictures_take_turns() -> None:
    used = np.zeros(100, dtype=np.int64)
    used[:5] = 7
    pool = {"t": {"yes": list(range(10)), "no": list(range(20, 30))}}
    assert not {choice.picture for choice in chosen(pool, 10, used=used)} & {0, 1, 2, 3, 4}
    assert used[:5].tolist() == [7] * 5 and used.sum() == 35 + 10
    chosen(pool, 10, used=used)
    assert used[20:30].tolist() == [1] * 10


def test_choices_are_numbered_within_their_picture() -> None:
    choices = [Choice(3, "b", "x"), Choice(1, "z", "x"), Choice(3, "a", "x")]
    assert list(numbered(choices)) == [
        (Choice(1, "z", "x"), 0),
        (Choice(3, "a", "x"), 0),
        (Choice(3, "b", "x"), 1),
    ]
