"""NLVR2's accuracy and consistency."""

import json
from pathlib import Path

import pytest

from vlp_fast.metrics.consistency import Consistency

# (set, pair, sentence), answer, label: two sentences about set 1, one about set 2.
EXAMPLES = [
    ((1, 0, 0), True, True),
    ((1, 1, 0), False, False),
    ((1, 0, 1), True, True),
    ((1, 1, 1), True, False),
    ((2, 0, 0), False, True),
]


def measured(examples: list[tuple[tuple[int, int, int], bool, bool]]) -> Consistency:
    score = Consistency()
    for (image_set, pair, sentence), answer, label in examples:
        key = f"dev-{image_set}-{pair}-{sentence}"
        score.add(key, answer, label, group=f"dev-{image_set}--{sentence}")
    return score


def test_a_group_counts_if_all_of_it_is_right() -> None:
    score = measured(EXAMPLES)
    assert score.figures() == {
        "accuracy": pytest.approx(60),
        "consistency": pytest.approx(100 / 3),
    }
    assert (score.num_groups, score.examples.count) == (3, 5)
    assert Consistency().figures() == {}


@pytest.mark.parametrize("cut", range(6))
def test_groups_may_be_spread_over_processes(cut: int) -> None:
    score = measured(EXAMPLES[:cut])
    score.merge(measured(EXAMPLES[cut:]))
    assert score.figures() == measured(EXAMPLES).figures()
    assert score.examples.hash == measured(EXAMPLES[::-1]).examples.hash


def test_saying_true_to_all_as_the_official_script_counts_it(shared_data: Path) -> None:
    lines = (shared_data / "samples/nlvr2/dev.json").read_text().split("\n")
    score = Consistency()
    for row in (json.loads(line) for line in lines if line):
        split, image_set, _, sentence = row["identifier"].split("-")
        group = f"{split}-{image_set}--{sentence}"
        score.add(row["identifier"], True, row["label"] == "True", group=group)
    assert (score.examples.count, score.num_groups) == (300, 88)
    assert score.figures()["accuracy"] == pytest.approx(100 * 155 / 300)
    assert score.figures()["consistency"] == pytest.approx(100 * 3 / 88)
