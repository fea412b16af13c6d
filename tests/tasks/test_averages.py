"""Means of what a step produces; what stands for nothing has none."""

import pytest
import torch

from vlp_fast.tasks.averages import Averages
from vlp_fast.tasks.step import StepOutput


def output(loss: float, rows: int) -> StepOutput:
    count = torch.tensor(rows)
    return StepOutput(
        losses={"mlm": torch.tensor(loss), "itm": torch.tensor(1.0)},
        counts={"mlm": (count // 2, count)},
    )


def test_a_loss_weighs_as_many_rows_as_it_was_taken_over() -> None:
    averages = Averages()
    averages.add_output(output(2.0, 2))
    averages.add_output(output(5.0, 4))
    means = averages.means()
    assert means == {"loss": 4.5, "mlm": 4.0, "itm": 1.0, "mlm_accuracy": 0.5}


def test_a_loss_that_nothing_had_is_not_there() -> None:
    averages = Averages()
    averages.add_output(output(0.0, 0))
    assert averages.means() == {"loss": 1.0, "itm": 1.0}
    averages.add_output(output(3.0, 2))
    assert averages.means() == {"loss": 2.5, "itm": 1.0, "mlm": 3.0, "mlm_accuracy": 0.5}


def test_the_only_loss_weighs_in_the_sum_as_by_itself() -> None:
    """The last batch of an evaluation is smaller than the others."""
    averages = Averages()
    for loss, rows in ((0.0, 0), (2.0, 2), (5.0, 4)):
        count = torch.tensor(rows)
        averages.add_output(
            StepOutput(losses={"mlm": torch.tensor(loss)}, counts={"mlm": (count, count)})
        )
        if not rows:
            assert averages.means() == {"loss": 0.0}
    assert averages.means() == pytest.approx({"loss": 4.0, "mlm": 4.0, "mlm_accuracy": 1.0})
