"""Annotations of a batch, packed."""

import dataclasses

import pytest
import torch
from draws import targets

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


def dtypes(targets: ops.Targets) -> dict[str, torch.dtype]:
    return {name: x.dtype for name, x in vars(targets).items() if isinstance(x, torch.Tensor)}


DTYPES = {
    "boxes": torch.float32,
    "labels": torch.int64,
    "attributes": torch.int64,
    "cu_targets": torch.int32,
    "image_of": torch.int64,
}


@pytest.mark.parametrize("counts", [(2, 0, 3), (0,), ()])
def test_dtypes_do_not_depend_on_those_of_the_annotations(counts) -> None:
    images = [
        (torch.rand(n, 4).double(), torch.arange(n).float(), torch.arange(n).half()) for n in counts
    ]
    assert dtypes(ops.make_targets(images)) == DTYPES
    narrow = [(boxes.half(), labels.int(), x.to(torch.uint8)) for boxes, labels, x in images]
    assert dtypes(ops.make_targets(narrow)) == DTYPES
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        assert dtypes(ops.make_targets(images)) == DTYPES
    finally:
        torch.set_default_dtype(default)


@pytest.mark.parametrize(
    ("device", "options", "expected"),
    [
        ("cpu", {}, False),
        (torch.device("cpu"), {}, False),
        ("cuda", {}, True),
        (torch.device("cuda", 0), {}, True),
        ("cuda", {"non_blocking": False}, False),
    ],
)
def test_a_copy_to_the_host_is_waited_for(device, options, expected, monkeypatch) -> None:
    """One to a GPU is not: its stream knows the order, what reads on the host does not."""
    targets = ops.make_targets([(torch.rand(2, 4), torch.arange(2), torch.arange(2))])
    copies = []

    def to(tensor, *args, **kwargs) -> torch.Tensor:
        copies.append((args, kwargs))
        return tensor

    monkeypatch.setattr(torch.Tensor, "to", to)
    moved = targets.to(device, **options)
    assert len(copies) == len(DTYPES)
    for args, kwargs in copies:
        assert torch.device(args[0]) == torch.device(device)
        assert kwargs.get("non_blocking", False) == expected
    assert (moved.counts, moved.max_count) == (targets.counts, targets.max_count)


def test_annotations_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="make_targets: received boxes"):
        ops.make_targets([(torch.zeros(2, 4), torch.zeros(3), torch.zeros(3))])


def test_dictionaries_are_packed_like_tuples() -> None:
    boxes, labels = torch.rand(5, 4), torch.arange(5)
    named = [
        {"boxes": boxes[:2], "labels": labels[:2], "image_id": 7},
        {"boxes": boxes[2:], "labels": labels[2:], "attributes": labels[2:] - 3},
    ]
    targets = ops.make_targets(named)
    assert targets.counts == (2, 3)
    assert torch.equal(targets.boxes, boxes) and torch.equal(targets.labels, labels)
    assert targets.attributes.tolist() == [-1, -1, -1, 0, 1]


N, NONE = torch.zeros(2), torch.zeros(0)


@pytest.mark.parametrize(
    ("image", "error", "said"),
    [
        ({"labels": N[:, None], "boxes": torch.rand(2, 4)}, ValueError, r"labels \(2, 1\)"),
        ((torch.rand(2, 4), N[:, None], N[:, None]), ValueError, r"labels \(2, 1\)"),
        ((torch.rand(4), N[:1], N[:1]), ValueError, r"boxes \(4,\)"),
        ((torch.rand(1, 4), torch.zeros(()), torch.zeros(())), ValueError, r"labels \(\)"),
        ({"labels": [0, 1], "boxes": torch.rand(2, 4)}, TypeError, "received labels of list"),
        ({"labels": N, "boxes": [[0.1] * 4] * 2}, TypeError, "received boxes of list"),
        ((torch.rand(2, 4), N, [1, 1]), TypeError, "received attributes of list"),
        ({"boxes": torch.rand(2, 4)}, TypeError, "received labels of NoneType"),
    ],
)
def test_annotations_of_other_shapes_and_types(image, error, said) -> None:
    """They are refused where they come in, by name and image, whatever the backend would do."""
    first = (torch.rand(0, 4), NONE, NONE)
    with pytest.raises(error, match=f"make_targets: .*{said}.* image 1, expected"):
        ops.make_targets([first, image])


@pytest.mark.parametrize(
    "lie",
    [
        {"cu_targets": torch.tensor([0, 2, 2, 9], dtype=torch.int32)},
        {"cu_targets": torch.tensor([0, -5, 2, 5], dtype=torch.int32)},
        {"cu_targets": torch.tensor([0, 4, 2, 5], dtype=torch.int32)},
        {"cu_targets": torch.tensor([1, 2, 2, 5], dtype=torch.int32)},
        {"cu_targets": torch.tensor([0, 5], dtype=torch.int32)},
        {"image_of": torch.tensor([0, 0, 9, 2, 2])},
        {"labels": torch.zeros(3, dtype=torch.int64)},
        {"attributes": torch.zeros(3, dtype=torch.int64)},
        {"boxes": torch.zeros(3, 4)},
        {"counts": (1, 1, 1)},
        {"max_count": 1},
    ],
    ids=lambda lie: next(iter(lie)),
)
def test_targets_that_lie_are_refused(lie) -> None:
    """Kernels trust them: the reference would index beyond its operands."""
    with pytest.raises(ValueError, match=r"Targets: received .* for counts"):
        dataclasses.replace(targets(), **lie)


def test_on_a_device_only_what_the_host_knows_is_looked_at() -> None:
    moved = targets().to("meta")
    with pytest.raises(ValueError, match=r"labels \(3,\), expected \(5,\)"):
        dataclasses.replace(moved, labels=moved.labels[:3])
