from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp_fast.data.order import EvaluationOrder, SampleOrder


def aspects_of(count: int) -> np.ndarray:
    return np.random.default_rng(count).uniform(0.5, 2.0, count)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 9), st.booleans(), st.integers(1, 5))
def test_an_epoch_shows_every_sample_at_most_once(
    samples: int, batch: int, seed: int, is_grouped: bool, window: int
) -> None:
    batch = min(batch, samples)
    aspects = aspects_of(samples) if is_grouped else None
    order = SampleOrder(samples, batch, seed, aspects=aspects, window=window)
    for epoch in (0, 3):
        first = epoch * order.steps_per_epoch
        steps = [order.batch(first + k) for k in range(order.steps_per_epoch)]
        assert {e for e, _ in steps} == {epoch}
        assert all(len(indices) == batch for _, indices in steps)
        shown = [i for _, indices in steps for i in indices]
        assert len(shown) == len(set(shown)) == samples // batch * batch
        assert set(shown) <= set(range(samples))


def test_steps_do_not_depend_on_what_was_asked_before() -> None:
    order = SampleOrder(50, 8, 1, aspects=aspects_of(50))
    forwards = [order.batch(step) for step in range(20)]
    backwards = [order.batch(step) for step in reversed(range(20))]
    assert forwards == backwards[::-1]


def test_epochs_and_seeds_differ() -> None:
    order = SampleOrder(64, 64, 0)
    assert order.batch(0)[1] != order.batch(1)[1]
    assert order.batch(0)[1] != SampleOrder(64, 64, 1).batch(0)[1]
    assert order.batch(0)[1] != sorted(order.batch(0)[1])


def test_the_order_is_uniform() -> None:
    """Each sample opens an epoch about equally often, and is left out about equally often."""
    order = SampleOrder(7, 2, 3, aspects=None)
    firsts = Counter(order.epoch(e)[0] for e in range(2100))
    left_out = Counter(({*range(7)} - set(order.epoch(e).tolist())).pop() for e in range(2100))
    for counts in (firsts, left_out):
        assert len(counts) == 7
        assert all(220 < n < 390 for n in counts.values())


def test_grouping_brings_similar_shapes_together_and_mixes_the_rest() -> None:
    aspects = aspects_of(4096)
    spread = {}
    for name, known in (("grouped", aspects), ("free", None)):
        order = SampleOrder(4096, 16, 0, aspects=known)
        batches = [order.batch(step)[1] for step in range(order.steps_per_epoch)]
        spread[name] = np.mean([np.ptp(aspects[batch]) for batch in batches])
        means = [aspects[batch].mean() for batch in batches]
        assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.2
    assert spread["grouped"] < 0.1 * spread["free"]


def test_bad_sizes_are_told() -> None:
    with pytest.raises(ValueError, match="batch_size=9 for 8 samples"):
        SampleOrder(8, 9, 0)
    with pytest.raises(ValueError, match="batch_size=0"):
        SampleOrder(8, 0, 0)
    with pytest.raises(ValueError, match="3 aspects"):
        SampleOrder(8, 4, 0, aspects=[1.0, 1.0, 1.0])


@given(st.integers(1, 60), st.integers(1, 20))
def test_evaluation_shows_everything_once(samples: int, batch: int) -> None:
    order = EvaluationOrder(range(samples), batch)
    shown = [i for step in range(order.steps_per_epoch) for i in order.batch(step)[1]]
    assert shown == list(range(samples))
    assert order.batch(order.steps_per_epoch)[0] == 1


def test_evaluation_batches_hold_one_aspect() -> None:
    aspects = [2.0, 0.5, 1.0, 2.0, 0.5, 1.0]
    order = EvaluationOrder(range(6), 2, aspects=aspects)
    assert [order.batch(step)[1] for step in range(3)] == [[1, 4], [2, 5], [0, 3]]


def test_groups_stay_together_and_come_in_random_order() -> None:
    groups = [i // 3 for i in range(60)]
    order = SampleOrder(60, 6, seed=2).grouped(groups)
    firsts = []
    for epoch in range(4):
        shown = [groups[i] for i in order.epoch(epoch).tolist()]
        runs = [g for k, g in enumerate(shown) if k == 0 or shown[k - 1] != g]
        assert sorted(runs) == list(range(20))
        firsts.append(runs)
    assert len({tuple(runs) for runs in firsts}) == 4
    assert all(runs != sorted(runs) for runs in firsts)
    other = SampleOrder(60, 6, seed=3).grouped(groups)
    assert other.epoch(0).tolist() != order.epoch(0).tolist()


def test_a_grouped_order_is_the_same_in_all_else() -> None:
    """Aspects in windows, parts of a mixture; and the order that it is made of stays as it is."""
    groups, sources = [i // 3 for i in range(60)], [i // 30 for i in range(60)]
    aspects = aspects_of(60)
    plain = SampleOrder(60, 6, 2, aspects=aspects, window=2, sources=sources, shares=[30, 15])
    before = plain.epoch(0).tolist()
    order = plain.grouped(groups)
    assert (order.steps_per_epoch, order.epoch_length) == (7, 45)
    shown = order.epoch(0)
    assert all(sum(shown // 30 == n) <= share for n, share in enumerate([30, 15]))
    assert (
        order.draw_from(60, 9, np.random.default_rng(0)).tolist()
        == plain.draw_from(60, 9, np.random.default_rng(0)).tolist()
    )
    for start in range(0, len(shown), 12):
        assert len({groups[i] for i in shown[start : start + 12]}) <= 6
        for batch in (shown[start : start + 6], shown[start + 6 : start + 12]):
            assert aspects[batch].tolist() == sorted(aspects[batch])
    assert plain.epoch(0).tolist() == before
    with pytest.raises(ValueError, match="59 groups, expected one for each of the 60"):
        plain.grouped(groups[1:])
