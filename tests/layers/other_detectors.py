"""Detectors of other packages: imported without what that does to the process, and drawn input."""

import copy
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, _tensor_str

CLASSES, QUERIES = 5, 7
"""Of one group."""
COUNTS = {
    "some": [3, 1, 2],
    "an image without": [0, 4],
    "none at all": [0, 0],
    "one image": [2],
    "as many as queries": [QUERIES, 1],
    "more than queries": [QUERIES + 3, 2],
}
"""Boxes of each image of a batch."""
each_count = pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
INSTALLED = "not installed: `make .venv/detectors` installs it"


def other(module: str) -> Any:
    """A module of another package, which is skipped where it is missing."""
    with _process_as_it_was():
        return pytest.importorskip(module, reason=f"{module} is {INSTALLED}")


@contextmanager
def _process_as_it_was() -> Iterator[None]:
    """Undo what imports change for everybody.

    Ultralytics asks a network whether it is there, writes settings into the home folder, replaces
    `torch.save`, Pillow's `open` and how numbers are printed; RF-DETR lets float32 products be less
    exact.
    """
    opened, most = Image.open, Image.MAX_IMAGE_PIXELS
    printed, numpy_printed = copy.copy(_tensor_str.PRINT_OPTS), np.get_printoptions()
    save, precision, environment = (
        torch.save,
        torch.get_float32_matmul_precision(),
        dict(os.environ),
    )
    os.environ |= {"YOLO_OFFLINE": "1", "YOLO_CONFIG_DIR": tempfile.mkdtemp()}
    try:
        yield
    finally:
        torch.save, _tensor_str.PRINT_OPTS = save, printed
        Image.open, Image.MAX_IMAGE_PIXELS = opened, most
        np.set_printoptions(**numpy_printed)
        torch.set_float32_matmul_precision(precision)
        os.environ.clear()
        os.environ.update(environment)


def boxes(*shape: int, draw: torch.Generator) -> Tensor:
    """Float32 numbers in float64, so that targets are the same in both."""
    centre, size = (torch.rand(*shape, 2, generator=draw) for _ in range(2))
    return torch.cat([0.2 + 0.6 * centre, 0.05 + 0.35 * size], -1).double()


def predictions(
    sets: int, images: int, queries: int, *, seed: int, scale: float = 2.0
) -> tuple[Tensor, Tensor]:
    """Logits (A, B, Q, C) and boxes (A, B, Q, 4), float64 leaves."""
    draw = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(sets, images, queries, CLASSES, generator=draw).double()
    return logits.requires_grad_(), boxes(sets, images, queries, draw=draw).requires_grad_()


def annotations(counts: list[int], *, seed: int = 0) -> list[dict[str, Tensor]]:
    """DETR's, in float64."""
    draw = torch.Generator().manual_seed(100 + seed)
    return [
        {
            "labels": torch.randint(CLASSES, (n,), generator=draw),
            "boxes": boxes(n, draw=draw),
        }
        for n in counts
    ]


def as_lists(pairs: Any) -> list[list[list[int]]]:
    """Of each image the queries and targets."""
    return [[torch.as_tensor(one).tolist() for one in pair] for pair in pairs]


def assert_same(
    expected: dict[str, Tensor], found: dict[str, Tensor], leaves: tuple[Tensor, ...], close: float
) -> None:
    """Names, values, and gradients of each loss by itself."""
    assert list(found) == list(expected)
    for name, loss in expected.items():
        tolerance = {"rtol": close, "atol": close, "msg": lambda told, name=name: f"{name}: {told}"}
        torch.testing.assert_close(found[name], loss.to(found[name].dtype), **tolerance)
        before, after = (
            torch.autograd.grad(one.sum(), leaves, retain_graph=True, allow_unused=True)
            for one in (loss, found[name])
        )
        for one, another, leaf in zip(before, after, leaves, strict=True):
            pair = (torch.zeros_like(leaf) if x is None else x for x in (another, one))
            torch.testing.assert_close(*pair, **tolerance)
