"""An epoch of a weighted mixture: all of some data sets, another part of the others each time."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp_fast.data.order import SampleOrder
from vlp_fast.tasks.pretraining.curriculum import Curriculum, CurriculumOrder

SOURCES = [0] * 40 + [1] * 60 + [2] * 20
SHARES = (40, 30, 5)


def order(batch: int = 5, seed: int = 3, *, is_grouped: bool = True) -> SampleOrder:
    aspects = np.random.default_rng(1).uniform(0.5, 2.0, len(SOURCES)) if is_grouped else None
    return SampleOrder(
        len(SOURCES), batch, seed, aspects=aspects, window=4, sources=SOURCES, shares=SHARES
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.floats(0, 1)), min_size=1, max_size=4),
    st.integers(1, 9),
    st.integers(0, 9),
    st.booleans(),
)
def test_an_epoch_shows_each_share_and_no_sample_twice(
    parts: list[tuple[int, float]], batch: int, seed: int, is_grouped: bool
) -> None:
    counts = [count for count, _ in parts]
    shares = [max(1, round(count * part)) for count, part in parts]
    sources = [n for n, count in enumerate(counts) for _ in range(count)]
    np.random.default_rng(seed).shuffle(sources)  # a curriculum sorts records by their boxes
    total = sum(shares)
    batch = min(batch, total)
    aspects = np.linspace(0.5, 2, len(sources)) if is_grouped else None
    made = SampleOrder(len(sources), batch, seed, aspects=aspects, sources=sources, shares=shares)
    assert made.steps_per_epoch == total // batch
    for epoch in (0, 3):
        first = epoch * made.steps_per_epoch
        steps = [made.batch(first + k) for k in range(made.steps_per_epoch)]
        assert {e for e, _ in steps} == {epoch}
        shown = [i for _, indices in steps for i in indices]
        assert len(shown) == len(set(shown)) == total // batch * batch
        found = Counter(sources[i] for i in shown)
        assert all(found[n] <= share for n, share in enumerate(shares))
        if total % batch == 0:
            assert [found[n] for n in range(len(shares))] == shares


def test_each_epoch_draws_another_part_and_all_come_equally_often() -> None:
    made = order()
    parts = [{int(i) for i in made.epoch(e) if SOURCES[i] == 1} for e in range(400)]
    assert all(len(part) == 30 for part in parts)
    assert parts[0] != parts[1]
    counts = Counter(i for part in parts for i in part)
    assert set(counts) == set(range(40, 100))
    assert all(150 < n < 250 for n in counts.values())


def test_steps_are_functions_of_their_number() -> None:
    forwards = [order().batch(step) for step in range(40)]
    one = order()
    assert [one.batch(step) for step in reversed(range(40))] == forwards[::-1]
    assert [e for e, _ in forwards] == [step // 15 for step in range(40)]


def test_equal_weights_are_the_order_without_weights() -> None:
    plain = SampleOrder(120, 7, 2, aspects=np.linspace(1, 2, 120))
    whole = SampleOrder(
        120, 7, 2, aspects=np.linspace(1, 2, 120), sources=SOURCES, shares=(40, 60, 20)
    )
    assert [plain.batch(k) for k in range(50)] == [whole.batch(k) for k in range(50)]


def test_a_curriculum_draws_as_often_as_epochs_show() -> None:
    curriculum = Curriculum(box_counts=(1,) * 100 + (9,) * 20, steps=3000)
    wrapped = curriculum.wrap(order(is_grouped=False))
    assert isinstance(wrapped, CurriculumOrder)
    # Data set 2 has many boxes, so early steps see the other two: 40 and 60 records, 40 : 30.
    shown = Counter(SOURCES[i] for step in range(300) for i in wrapped.batch(step)[1])
    assert shown[2] == 0
    assert shown[0] / shown[1] == pytest.approx(40 / 30, rel=0.12)
    assert wrapped.batch(3000)[1] == order(is_grouped=False).batch(3000)[1]


def test_shares_that_cannot_be_are_told() -> None:
    with pytest.raises(ValueError, match=r"batch_size=76 for 75 samples"):
        order(76)
    for shares, sources in (((41, 60, 20), SOURCES), ((40, 60), SOURCES), ((2,), [0, 0])):
        with pytest.raises(ValueError, match=r"received shares \("):
            SampleOrder(120, 1, 0, sources=sources, shares=shares)
