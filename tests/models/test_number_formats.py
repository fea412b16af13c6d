"""Both models whole in other number formats, without autocast: positions follow the weights."""

import pytest
import torch
from tiny_e2e_vlp import image_only, tiny_model
from torch import Tensor

from vlp_fast.models.config import BackboneConfig, SohoConfig
from vlp_fast.models.soho import Soho, build_soho
from vlp_fast.ops.grid import make_grid
from vlp_fast.ops.packing import make_packing

SOHO = SohoConfig(
    backbone=BackboneConfig(
        depth=None, block="basic", blocks=(1,), widths=(8,), stem="small", norm="batch"
    ),
    width=16,
    num_heads=4,
    ffn_dim=24,
    layers=1,
    vocab_size=20,
    max_positions=8,
    num_codes=6,
    dropout=0.0,
)
FORMATS = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-4), (torch.bfloat16, 0.1)]
)


def hidden_rows(model: Soho) -> Tensor:
    sizes, map_size = model.grid_sizes(((32, 32),), (32, 32))
    grid = make_grid(sizes, map_size)
    dtype = model.norm.weight.dtype
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
    seen = model.see(images, grid, ((32, 32),))
    packing = make_packing([4], [0], grid)
    return model.read(torch.tensor([1, 2, 3, 4]), seen, grid, packing)


@FORMATS
def test_soho(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    model = build_soho(SOHO).eval()
    expected = hidden_rows(model)
    found = hidden_rows(model.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)


@FORMATS
def test_e2e_vlp(dtype: torch.dtype, tolerance: float) -> None:
    model = tiny_model()
    expected = model.detect(*image_only(model))
    model = model.to(dtype)
    memory, grid, packing = image_only(model)
    found = model.detect(memory, grid, packing)
    assert found.logits.dtype == dtype
    torch.testing.assert_close(found.boxes.float(), expected.boxes, rtol=0, atol=tolerance)
    written = model.generate(memory, grid, packing, start_id=1, end_id=2, max_length=3)
    assert written.shape == (3, 3)
