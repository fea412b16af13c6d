"""Annotations of a batch, packed."""

import pytest
import torch

from vlp_fast import ops


def test_targets_are_packed_in_order() -> None:
    images = [(torch.rand(n, 4), torch.arange(n) + n, torch.arange(n) - 1) for n in (2, 0, 3)]
    targets = ops.make_targets(images)
    assert targets.counts == (2, 0, 3)
    assert targets.cu_targets.tolist() == [0, 2, 2, 5]
    assert targets.cu_targets.dtype == torch.int32
    assert targets.image_of.tolist() == [0, 0, 2, 2, 2]
    assert torch.equal(targets.boxes[2:], images[2][0])
    assert torch.equal(targets.labels[:2], images[0][1])
    assert torch.equal(targets.attributes[2:], images[2][2])
    assert targets.to("meta").boxes.device.type == "meta"
    assert ops.make_targets([]).boxes.shape == (0, 4)


def test_annotations_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="make_targets: received boxes"):
        ops.make_targets([(torch.zeros(2, 4), torch.zeros(3), torch.zeros(3))])
