"""Worlds large enough to be asked about: small ones, and all there is in small pictures."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from vlp_fast.data.world import make_world
from vlp_fast.data.world.bounds import SMALL, Bounds

BOUNDS = {"world": Bounds(sizes=((64, 64),)), "small": SMALL}


class Asked(NamedTuple):
    """A world of 400 pictures: 360 for training, 20 each for validation and test."""

    root: Path
    scenes: dict[int, dict[str, Any]]

    def json(self, name: str) -> Any:
        """A file of the world."""
        return json.loads((self.root / name).read_text(encoding="utf-8"))

    def lines(self, name: str) -> list[dict[str, Any]]:
        """A file of json lines."""
        text = (self.root / name).read_text(encoding="utf-8")
        assert text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="session", params=["world", "small"])
def asked_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    root = tmp_path_factory.mktemp("asked") / "world"
    make_world(root, images=400, seed=2, bounds=BOUNDS[request.param])
    state = json.loads((root / "world.json").read_text(encoding="utf-8"))
    return Asked(root, {scene["image_id"]: scene for scene in state["scenes"]})
