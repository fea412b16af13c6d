"""What tasks may rely on whichever model it is: it sees, and reads beside what it saw."""

import pytest
import torch
from tiny_e2e_vlp import TINY
from tiny_soho import OFFICIAL, PAPER
from torch import Tensor

from vlp_fast.models.config import ModelConfig, SohoConfig
from vlp_fast.models.model import Seen, VisionLanguageModel
from vlp_fast.models.soho import Soho
from vlp_fast.ops.grid import Grid, make_grid
from vlp_fast.ops.packing import make_packing

SIZES = ((64, 50), (40, 64))
MODELS = pytest.mark.parametrize(
    "config", [TINY, PAPER, OFFICIAL], ids=["e2e_vlp", "soho", "soho_official"]
)


def looked_at(model: VisionLanguageModel) -> tuple[Tensor, Grid]:
    images = torch.zeros(2, 3, 64, 64)
    for image, (height, width) in zip(images, SIZES, strict=True):
        image[:, :height, :width] = torch.randn(3, height, width)
    return images, make_grid(*model.grid_sizes(SIZES, (64, 64)))


@MODELS
def test_texts_are_read_beside_features_where_no_codes_are_wanted(config: ModelConfig) -> None:
    model = config.build().eval()
    images, grid = looked_at(model)
    seen = model.see(images, grid, SIZES, codes=False)
    assert torch.equal(seen.cells, model.features(images, grid, SIZES))
    hidden = model.read(torch.tensor([1, 2, 3]), seen, grid, make_packing([3], [1], grid))
    assert hidden.shape == (3 + int((grid.image_of == 1).sum()), config.width)
    with_codes = model.see(images, grid, SIZES)
    assert torch.equal(with_codes.cells, seen.cells) == (not isinstance(config, SohoConfig))


@pytest.mark.parametrize("config", [PAPER, OFFICIAL], ids=["paper", "official"])
def test_the_dictionary_stands_still_where_no_codes_are_wanted(config: SohoConfig) -> None:
    model = config.build()
    assert isinstance(model, Soho)
    images, grid = looked_at(model)
    before = {name: value.clone() for name, value in model.dictionary.state_dict().items()}
    model.see(images, grid, SIZES, codes=False)
    now = model.dictionary.state_dict()
    assert all(torch.equal(value, now[name]) for name, value in before.items())
    model.see(images, grid, SIZES)
    now = model.dictionary.state_dict()
    assert not all(torch.equal(value, now[name]) for name, value in before.items())


@pytest.mark.parametrize("config", [PAPER, OFFICIAL], ids=["paper", "official"])
def test_seen_by_codes_are_the_visual_tokens(config: SohoConfig) -> None:
    model = config.build().eval()
    assert isinstance(model, Soho)
    images, grid = looked_at(model)
    expected = model.embed_image(images, grid, SIZES)
    assert torch.equal(model.see(images, grid, SIZES).cells, expected.cells)


def test_hidden_cells_are_the_mask_embedding_in_the_format_of_the_others() -> None:
    model = PAPER.build()
    assert isinstance(model, Soho)
    cells = torch.randn(5, PAPER.width, dtype=torch.bfloat16)
    masked = torch.tensor([True, False, False, True, False])
    found = model.hide(Seen(cells=cells), masked).cells
    assert found.dtype == torch.bfloat16
    assert torch.equal(found[~masked], cells[~masked])
    assert (found[masked] == model.mask_embedding.bfloat16()).all()
