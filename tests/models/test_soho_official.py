"""Fidelity to the published code: the weights' tree, there and back, and its grid sizes."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import torchvision

from vlp_fast.models.config import BackboneConfig, SohoConfig, model_config, official
from vlp_fast.models.soho import Soho, build_soho
from vlp_fast.models.soho_official import (
    load_official_state_dict,
    official_name,
    official_state_dict,
)


def published(depth: int, layers: int) -> SohoConfig:
    backbone = BackboneConfig(depth=depth, norm="batch")
    return official(SohoConfig(backbone=backbone, layers=layers))


def small() -> Soho:
    backbone = BackboneConfig(depth=18, norm="batch")
    config = SohoConfig(
        backbone=backbone, width=16, num_heads=2, ffn_dim=8, layers=2, vocab_size=9, num_codes=5
    )
    return build_soho(official(config))


def published_shapes() -> dict[str, tuple[int, ...]]:
    """The tree of the released checkpoint (ResNet-18, 3 layers), from the names of its parts."""
    resnet = torchvision.models.resnet18(weights=None).state_dict()
    shapes = {f"backbone.{k}": tuple(v.shape) for k, v in resnet.items() if k[:3] != "fc."}
    shapes |= norm_shapes("neck.conv.bn", 768) | norm_shapes("neck.gate_fc.bn", 2)
    shapes |= {
        "neck.conv.conv.weight": (768, 512, 1, 1),
        "neck.gate_fc.conv.weight": (2, 1536, 1, 1),
        "neck.ln.weight": (768,),
        "neck.ln.bias": (768,),
        "neck.mask_emb.weight": (1, 768),
        "neck.pos_line.weight": (768, 768),
        "neck.pos_line.bias": (768,),
        "neck.vq.embed": (2048, 768),
        "neck.vq.embed_avg": (2048, 768),
        "neck.vq.cluster_size": (2048,),
        "neck.vq.cluster_sum": (2048,),
        "head.match_class.weight": (2, 768),
        "mask_l_fc.weight": (30522, 768),
    }
    embeddings = "language.bert.embeddings"
    for name, rows in (("word", 30522), ("position", 512), ("token_type", 2)):
        shapes[f"{embeddings}.{name}_embeddings.weight"] = (rows, 768)
    linears = {
        "attention.self.query": (768, 768),
        "attention.self.key": (768, 768),
        "attention.self.value": (768, 768),
        "attention.output.dense": (768, 768),
        "intermediate.dense": (3072, 768),
        "output.dense": (768, 3072),
    }
    norms = [f"{embeddings}.LayerNorm"]
    for number in range(3):
        layer = f"language.bert.encoder.layer.{number}"
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
        for name, shape in linears.items():
            shapes |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (768,), f"{name}.bias": (768,)}
    return shapes


def norm_shapes(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def test_the_196_tensors_of_the_released_checkpoint() -> None:
    with torch.device("meta"):
        state = official_state_dict(build_soho(model_config("soho_r18_3_official")))
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == published_shapes()
    assert len(state) == 196


@pytest.mark.parametrize(
    ("depth", "layers", "millions"), [(18, 3, 57.27), (50, 12, 134.57), (101, 12, 153.56)]
)
def test_parameter_totals(depth: int, layers: int, millions: float) -> None:
    with torch.device("meta"):
        model = build_soho(published(depth, layers))
    total = sum(p.numel() for p in model.parameters())
    assert total / 1e6 == pytest.approx(millions, abs=0.005)


def test_weights_survive_the_way_there_and_back() -> None:
    torch.manual_seed(0)
    first, second = small(), small()
    second.dictionary.cluster_sum.fill_(3)
    state = {f"module.{k}": v.clone() for k, v in official_state_dict(first).items()}
    report = load_official_state_dict(second, state)
    assert report.missing == report.unexpected == ()
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert not torch.equal(first.gate.conv.weight, small().gate.conv.weight)


def test_words_load_from_either_of_their_two_names() -> None:
    torch.manual_seed(0)
    words = torch.randn(9, 16)
    for name in ("mask_l_fc.weight", "language.bert.embeddings.word_embeddings.weight"):
        model = small()
        load_official_state_dict(model, {name: words})
        assert torch.equal(model.text_embeddings.word_embeddings.weight, words)
    both = {"mask_l_fc.weight": words + 1, "language.bert.embeddings.word_embeddings.weight": words}
    model = small()
    load_official_state_dict(model, both)
    assert torch.equal(model.text_embeddings.word_embeddings.weight, words)


def test_what_does_not_fit_is_reported_and_nothing_half_loaded() -> None:
    model = small()
    state = {k: v.clone() for k, v in official_state_dict(model).items()}
    del state["neck.ln.bias"]
    state["mask_v_fc.weight"] = torch.zeros(3)
    report = load_official_state_dict(model, state)
    assert report.missing == ("neck.ln.bias",)
    assert report.unexpected == ("mask_v_fc.weight",)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = {k: v + 1 for k, v in state.items()}
    state["head.match_class.weight"] = torch.zeros(3, 16)
    with pytest.raises(ValueError, match=r"match_class\.weight of shape \(3, 16\)"):
        load_official_state_dict(model, state)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_model_of_the_paper_has_no_published_counterpart() -> None:
    with pytest.raises(ValueError, match="code_head"):
        official_name("code_head.weight")
    with torch.device("meta"):
        paper = build_soho(SohoConfig(backbone=BackboneConfig(depth=18, norm="batch"), layers=1))
    with pytest.raises(ValueError, match=r"config\.official"):
        official_state_dict(paper)


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize(
    ("sizes", "padded"),
    [([(600, 450)], (608, 480)), ([(448, 777), (600, 1000)], (608, 1024)), ([(330, 1)], (352, 64))],
)
def test_official_grid_sizes_equal_a_sampled_mask(
    legacy: bool, sizes: list[tuple[int, int]], padded: tuple[int, int]
) -> None:
    with torch.device("meta"):
        model = build_soho(replace(published(18, 1), legacy_square_mask=legacy))
    cells, map_size = model.grid_sizes(sizes, padded)
    for (height, width), expected in zip(sizes, cells, strict=True):
        mask = torch.zeros(1, 1, padded[0], padded[0] if legacy else padded[1])
        mask[..., :height, :width] = 1
        sampled = F.interpolate(mask, size=map_size)[0, 0].bool()
        assert (int(sampled.any(1).sum()), int(sampled.any(0).sum())) == expected
        assert sampled[: expected[0], : expected[1]].all()
