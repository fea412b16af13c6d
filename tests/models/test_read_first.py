"""[CLS] alone, packed or of all pairs, is what a whole pass gives for it."""

from dataclasses import replace

import pytest
import torch
from tiny_e2e_vlp import TINY
from tiny_soho import OFFICIAL, PAPER
from torch import Tensor

from vlp_fast.models.config import ModelConfig
from vlp_fast.models.model import Seen, VisionLanguageModel
from vlp_fast.ops.grid import Grid, make_grid
from vlp_fast.ops.packing import make_packing

CONFIGS = {
    "e2e_vlp": replace(TINY, encoder_layers=3),
    "e2e_vlp_one_layer": replace(TINY, encoder_layers=1),
    "e2e_vlp_norm_first": replace(TINY, norm_first=True),
    "soho": replace(PAPER, layers=3),
    "soho_norm_first": replace(PAPER, norm_first=True),
    "soho_official": OFFICIAL,
}
MODELS = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
SIZES = ((2, 3), (3, 1), (2, 3))


def built(config: ModelConfig, dtype: torch.dtype = torch.float64) -> VisionLanguageModel:
    torch.manual_seed(0)
    model = config.build().eval().to(dtype)
    with torch.no_grad():  # at their start norms and biases are such that mistakes in them hide
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def seen_by(model: VisionLanguageModel, grid: Grid) -> Seen:
    width = model.text_embeddings.word_embeddings.embedding_dim
    dtype = model.text_embeddings.word_embeddings.weight.dtype
    return Seen(cells=torch.randn(grid.num_cells, width, dtype=dtype, requires_grad=True))


def texts(*lengths: int) -> list[Tensor]:
    return [torch.randint(1, 20, (length,)) for length in lengths]


@MODELS
@pytest.mark.parametrize("lengths", [(3, 1, 5, 4), (4, 4, 4, 4)], ids=["ragged", "even"])
def test_the_first_rows_are_those_of_a_whole_pass(
    config: ModelConfig, lengths: tuple[int, ...]
) -> None:
    model, grid = built(config), make_grid(SIZES, (4, 4))
    packing = make_packing(lengths, (1, 0, 2, 0) if lengths[0] == 3 else (0, 2, 2, 0), grid)
    seen, ids = seen_by(model, grid), torch.cat(texts(*lengths))
    whole = model.read(ids, seen, grid, packing).index_select(0, packing.first_rows)
    first = model.read_first(ids, seen, grid, packing)
    torch.testing.assert_close(first, whole, rtol=1e-10, atol=1e-12)
    parameters = [seen.cells, *model.encoder.parameters()]
    weights = torch.randn_like(whole)
    for one, other in zip(
        torch.autograd.grad((first * weights).sum(), parameters),
        torch.autograd.grad((whole * weights).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@MODELS
def test_all_pairs_are_those_of_a_whole_pass(config: ModelConfig) -> None:
    model, grid = built(config), make_grid(((2, 3), (2, 3)), (4, 4))
    seen, ids = seen_by(model, grid), torch.stack(texts(4, 4, 4))
    with torch.no_grad():
        found = model.read_all_pairs(ids, seen, grid)
        for image in range(2):
            packing = make_packing([4] * 3, [image] * 3, grid)
            whole = model.read(ids.flatten(), seen, grid, packing)
            torch.testing.assert_close(
                found[image], whole[packing.first_rows], rtol=1e-10, atol=1e-12
            )
    assert found.std(dim=1).max() > 1e-3
    assert found.std(dim=0).max() > 1e-3
