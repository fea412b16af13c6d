"""A packed world."""

from pathlib import Path

import pytest
from packed_files import CUT

from vlp_fast.data.store.pack import pack


@pytest.fixture(scope="module")
def packed(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "world"
    done = pack(small_world, out, shard_bytes=CUT)
    assert done.is_new and done.shards > 3 and not done.broken
    return out
