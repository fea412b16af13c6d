"""What every test shares: one thread per worker, Triton interpreted where there is no GPU."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

HAS_GPU = torch.cuda.is_available()
if not HAS_GPU:
    # Triton reads it at import, so this line must run before any test module does.
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    if HAS_GPU:
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn world of 60 small pictures: 54 for training, 3 each for validation and test."""
    from vlp_fast.data.world.layouts import make_world

    root = tmp_path_factory.mktemp("small") / "world"
    make_world(root, images=60, seed=3, sizes=((64, 64), (96, 64), (64, 80)))
    return root
