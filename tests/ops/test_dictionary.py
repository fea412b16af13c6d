"""The dictionary's definitions in float64 do not depend on how the rows are cut."""

import torch

from vlp_fast import ops
from vlp_fast.reference import dictionary as reference


def test_chunks_make_no_difference(monkeypatch) -> None:
    x, codes = torch.randn(50, 8), torch.randn(11, 8)
    with ops.use("reference"):
        whole = ops.nearest_code(x, codes)
        monkeypatch.setattr(reference, "_CHUNK_SCORES", 77)
        assert torch.equal(ops.nearest_code(x, codes), whole)
