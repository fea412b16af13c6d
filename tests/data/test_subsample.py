"""Part of a split: spread over its file, nested, and the same wherever it is taken."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_fast.data.subsample import hash_order, subsample

ANY_IDS = st.lists(st.one_of(st.integers(), st.text()), max_size=30)


@given(ANY_IDS, st.integers(0, 40), st.integers(0, 40))
def test_fewer_are_a_part_of_more(ids: list[int | str], first: int, second: int) -> None:
    few, many = sorted((first, second))
    assert set(subsample(ids, few)) <= set(subsample(ids, many))
    assert len(subsample(ids, few)) == min(few, len(ids))
    assert subsample(ids, few) == sorted(set(subsample(ids, few)))


@given(ANY_IDS)
def test_all_are_all_in_their_order(ids: list[int | str]) -> None:
    assert subsample(ids, len(ids)) == subsample(ids, 10**9) == list(range(len(ids)))
    assert sorted(hash_order(ids)) == list(range(len(ids)))


def test_it_is_spread_over_a_sorted_file() -> None:
    """200 of 5,000: each tenth of the file has about a tenth of them, and so has each class."""
    chosen = subsample(range(5000), 200)
    counts = np.bincount(np.array(chosen) // 500, minlength=10)
    assert ((counts - 20) ** 2 / 20).sum() < 27.9  # chi square of 9, exceeded once in 1,000
    assert abs(np.mean(chosen) - 2500) < 300


def test_it_depends_on_ids_and_not_on_where_they_are() -> None:
    ids: list[int | str] = [f"dev-{number}" for number in range(300)]
    chosen = {ids[place] for place in subsample(ids, 40)}
    moved = ids[::-1]
    assert {moved[place] for place in subsample(moved, 40)} == chosen
    more = [*ids, *(f"other-{number}" for number in range(300))]
    assert {more[place] for place in subsample(more, 80)} & set(ids) != set(ids[:80])
    assert subsample([str(number) for number in range(90)], 9) == subsample(range(90), 9)


def test_it_is_the_same_in_another_process() -> None:
    code = (
        "from vlp_fast.data.subsample import subsample\n"
        "print(subsample([f'x{i}' for i in range(99)], 9))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(subsample([f"x{i}" for i in range(99)], 9))


@pytest.mark.parametrize("count", [1, 7, 30, 59])
def test_groups_are_taken_whole_but_for_the_last(count: int) -> None:
    groups = [f"group {number % 20}" for number in range(60)]
    chosen = subsample(groups, count)
    sizes = np.unique([groups[place] for place in chosen], return_counts=True)[1]
    assert sum(size < 3 for size in sizes) <= 1
    assert len(chosen) == count
