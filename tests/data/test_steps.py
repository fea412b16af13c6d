"""Steps load in this process, in workers, or for DALI."""

import torch

from vlp_fast.data.images import read_image
from vlp_fast.data.order import EvaluationOrder
from vlp_fast.data.steps import steps_of


def test_what_is_loaded_is_told_epoch_and_step() -> None:
    steps = steps_of(
        order=EvaluationOrder(range(5), 2),
        load=lambda *place: place,
        collate=lambda examples, epoch, step: examples,
        reader=read_image,
        num_workers=0,
        steps=range(1, 3),
        device=torch.device("cpu"),
    )
    assert list(steps) == [(1, [(2, 0, 1), (3, 0, 1)]), (2, [(4, 0, 2)])]
