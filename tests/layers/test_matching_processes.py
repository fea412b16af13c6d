"""`SetCriterion` on two processes: box losses are divided by the mean number of targets."""

from pathlib import Path

import pytest
import torch
from rank_processes import run_ranks

from vlp_fast import HungarianMatcher, SetCriterion

COUNTS, CLASSES, QUERIES = (1, 5), 3, 6
RANK = """
import sys
import torch
from torch import distributed
from vlp_fast import HungarianMatcher, SetCriterion

folder, rank = sys.argv[1], int(sys.argv[2])
distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
logits, boxes, targets = torch.load(f"{folder}/problem.pt")
boxes = boxes[rank : rank + 1].requires_grad_()
criterion = SetCriterion(3, HungarianMatcher(), {}, 0.1, ["boxes"])
outputs = {"pred_logits": logits[rank : rank + 1], "pred_boxes": boxes}
losses = criterion(outputs, targets[rank : rank + 1])
(losses["loss_bbox"] + losses["loss_giou"]).backward()
kept = {name: loss.detach() for name, loss in losses.items()}
torch.save((kept, boxes.grad), f"{folder}/{rank}.pt")
distributed.destroy_process_group()
"""


def make_problem() -> tuple[torch.Tensor, torch.Tensor, list[dict[str, torch.Tensor]]]:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(2, QUERIES, CLASSES + 1, generator=draw)
    boxes = torch.rand(2, QUERIES, 4, generator=draw) * 0.4 + 0.2
    targets = [
        {
            "labels": torch.randint(CLASSES, (n,), generator=draw),
            "boxes": torch.rand(n, 4, generator=draw) * 0.4 + 0.2,
        }
        for n in COUNTS
    ]
    return logits, boxes, targets


@pytest.mark.dist
def test_two_processes_average_to_the_loss_and_the_gradient_of_one(tmp_path: Path) -> None:
    logits, boxes, targets = problem = make_problem()
    torch.save(problem, tmp_path / "problem.pt")
    (first, first_gradient), (second, second_gradient) = run_ranks(RANK, tmp_path, 2)

    criterion = SetCriterion(CLASSES, HungarianMatcher(), {}, 0.1, ["boxes"])
    outputs = {"pred_logits": logits, "pred_boxes": boxes.requires_grad_()}
    whole = criterion(outputs, targets)
    for name, value in whole.items():
        torch.testing.assert_close((first[name] + second[name]) / 2, value.detach())
    (expected,) = torch.autograd.grad(whole["loss_bbox"] + whole["loss_giou"], boxes)
    torch.testing.assert_close(torch.cat([first_gradient, second_gradient]) / 2, expected)

    alone = {"pred_logits": logits[:1], "pred_boxes": boxes[:1].detach()}
    of_one_target = criterion(alone, targets[:1])["loss_bbox"]
    torch.testing.assert_close(first["loss_bbox"], of_one_target / 3)  # the mean of 1 and 5
