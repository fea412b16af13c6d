"""The presets: published totals, names, and numbers that no model can have."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from tiny_e2e_vlp import (
    tiny_model,
)

from vlp_fast.layers.backbone import parameter_total
from vlp_fast.models import model_names
from vlp_fast.models.config import (
    BackboneConfig,
    E2EVLPConfig,
    SohoConfig,
    model_config,
    official,
    paper,
)

# Backbone, encoder layers: millions of parameters of the default, 12-head and literal presets.
TOTALS = {
    "r50_6": (50.1, 50.7, 46.2),
    "r101_6": (69.1, 69.7, 65.2),
    "r152_6": (84.8, 85.4, 80.8),
    "r50_12": (58.0, 58.8, 51.7),
    "r101_12": (77.0, 77.8, 70.7),
    "r152_12": (92.7, 93.5, 86.4),
}


@pytest.mark.parametrize("size", TOTALS)
@pytest.mark.parametrize(("column", "suffix"), [(0, ""), (1, "_12h"), (2, "_text")])
def test_totals_are_those_of_table_5(size: str, column: int, suffix: str) -> None:
    with torch.device("meta"):
        model = model_config(f"e2e_vlp_{size}{suffix}").build()
    assert parameter_total(model) / 1e6 == pytest.approx(TOTALS[size][column], abs=0.1)


def test_one_word_matrix_serves_input_masked_words_and_captions() -> None:
    state = tiny_model().state_dict()
    matrices = [name for name, tensor in state.items() if tensor.shape == (23, 16)]
    assert matrices == ["text_embeddings.word_embeddings.weight"]


def test_stem_and_first_stage_of_the_presets_are_frozen() -> None:
    with torch.device("meta"):
        model = model_config("e2e_vlp_r50_6").build()
    trains = {name for name, p in model.backbone.named_parameters() if p.requires_grad}
    assert not any(name.startswith(("conv1", "layer1.")) for name in trains)
    assert {name.split(".")[0] for name in trains} == {"layer2", "layer3", "layer4"}


def test_names() -> None:
    assert len(model_names()) == 22
    assert {"soho_r101_12", "soho_r18_3_official", "e2e_vlp_r152_12_text"} <= set(model_names())
    with pytest.raises(ValueError, match=r"received 'e2e_vlp_r51_6'.*e2e_vlp_r50_6"):
        model_config("e2e_vlp_r51_6")


def test_names_and_configurations_need_no_torch() -> None:
    program = "import sys, vlp_fast.models as m; m.model_names(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_heads", 0),
        ("width", 30),
        ("dropout", 1.5),
        ("num_queries", -1),
        ("num_attributes", -1),
    ],
)
def test_impossible_numbers_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"E2EVLPConfig: received {field} = "):
        E2EVLPConfig(**{field: value})


@pytest.mark.parametrize("revival", [-0.1, float("nan")])
def test_impossible_revival_is_refused(revival: float) -> None:
    with pytest.raises(ValueError, match="SohoConfig: received revival = "):
        SohoConfig(revival=revival)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"depth": 19}, "received depth = 19, expected 18, 34, 50, 101, 152 or None"),
        ({"depth": 0}, "received depth = 0"),
        ({"widths": (64, 0, 64, 64)}, r"received widths = \(64, 0, 64, 64\), expected 1 or more"),
        ({"blocks": (1, -1, 1, 1)}, "received blocks = "),
        ({"depth": None, "blocks": (), "widths": ()}, "received 0 blocks"),
        ({"depth": None, "blocks": (1, 1)}, "received 2 blocks and 4 widths"),
        ({"freeze_stages": 5}, "received freeze_stages = 5, expected 0 to 4"),
        ({"freeze_stages": -1}, "received freeze_stages = -1"),
    ],
)
def test_impossible_backbones_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"BackboneConfig: {said}"):
        BackboneConfig(**settings)


def test_possible_backbones_are_not_refused() -> None:
    for depth in (18, 34, 50, 101, 152):
        assert BackboneConfig(depth=depth, freeze_stages=4).depth == depth
    assert BackboneConfig(depth=None, blocks=(1,), widths=(8,), freeze_stages=1).blocks == (1,)


def test_official_and_paper_switch_everything_but_sizes() -> None:
    start = SohoConfig(width=96, layers=3, num_codes=64, dropout=0.0)
    switched = official(start)
    assert (switched.width, switched.layers, switched.num_codes) == (96, 3, 64)
    assert (switched.momentum, switched.mvm_rate, switched.semantics) == (0.4, 0.015, "official")
    assert switched.pool_first and switched.conv_bn and switched.gate
    assert switched.backbone.freeze_stages == 1
    assert paper(switched) == start
    with pytest.raises(ValueError, match="7 heads, which do not divide"):
        SohoConfig(num_heads=7)
