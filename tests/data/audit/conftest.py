"""A world with everything in it, to be damaged, and what a check says of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.data.audit import Audit, audit
from vlp_fast.data.audit.splits import SplitOptions

Look = Callable[..., Audit]


@pytest.fixture
def world(small_world: Path, tmp_path: Path) -> Path:
    """A whole copy, pictures too."""
    root = tmp_path / "world"
    shutil.copytree(small_world, root)
    return root


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """look(root, ...) checks folders; nothing is remembered from another call."""

    def checked(*roots: Path, **settings: Any) -> Audit:
        cache = tmp_path / "cache.json"
        cache.unlink(missing_ok=True)
        usual = {"max_pixels": 64_000_000, "max_text_length": 64, "workers": 0, "cache": cache}
        return audit(roots, SplitOptions(), **(usual | settings))

    return checked


@pytest.fixture
def change(world: Path) -> Callable[[str, Callable[[Any], object]], None]:
    """change(file, edit) lets `edit` change the document of a file of the world."""

    def edited(name: str, edit: Callable[[Any], object]) -> None:
        path = world / name
        document = json.loads(path.read_text())
        edit(document)
        path.write_text(json.dumps(document))

    return edited
