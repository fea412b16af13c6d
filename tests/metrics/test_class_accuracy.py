"""SNLI-VE's accuracy, in all and by class."""

import pytest

from vlp_fast.metrics.class_accuracy import ClassAccuracy

LABELS = ("entailment", "neutral", "contradiction")
EXAMPLES = [
    ("neutral", "neutral"),
    ("neutral", "entailment"),
    ("entailment", "entailment"),
    ("entailment", "entailment"),
    ("entailment", "neutral"),
]


def measured(examples: list[tuple[str, str]], first: int = 0) -> ClassAccuracy:
    score = ClassAccuracy(LABELS)
    for key, (answer, label) in enumerate(examples, first):
        score.add(f"{key}.jpg", answer, label)
    return score


def test_classes_are_the_true_ones() -> None:
    score = measured(EXAMPLES)
    assert score.figures() == {
        "accuracy": pytest.approx(60),
        "accuracy, entailment": pytest.approx(200 / 3),
        "accuracy, neutral": pytest.approx(50),
    }
    assert ClassAccuracy(LABELS).figures() == {}


def test_processes_add_up_to_one() -> None:
    score = measured(EXAMPLES[:2])
    score.merge(measured(EXAMPLES[2:], 2))
    assert score.figures() == measured(EXAMPLES).figures()
    assert score.examples.described("dev") == measured(EXAMPLES).examples.described("dev")


@pytest.mark.parametrize("pair", [("yes", "neutral"), ("neutral", "-")])
def test_labels_are_names(pair: tuple[str, str]) -> None:
    score = ClassAccuracy(LABELS)
    with pytest.raises(ValueError, match=r"received label '(yes|-)', expected one of"):
        score.add(1, *pair)
    assert score.examples.count == 0
