"""The published SOHO's 196 tensors, and those of its question answering, into `official(...)`."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor

from vlp_fast.data.tokenizer import Tokenizer
from vlp_fast.errors import InputError
from vlp_fast.models.backbone import build_backbone
from vlp_fast.models.config import BackboneConfig, SohoConfig, model_config, official
from vlp_fast.weights.convert import convert_weights
from vlp_fast.weights.layout import Asked
from vlp_fast.weights.load import load_weights

WIDTH, WORDS = 24, 9
SMALL = official(
    SohoConfig(
        backbone=BackboneConfig(depth=None, block="basic", blocks=(1, 1), widths=(4, 8)),
        width=WIDTH,
        num_heads=12,
        ffn_dim=8,
        layers=2,
        vocab_size=WORDS,
        max_positions=7,
        num_codes=5,
    )
)


def shapes(config: SohoConfig) -> dict[str, tuple[int, ...]]:
    """The tree of a released checkpoint, from the names of its parts."""
    width, inner, codes = config.width, config.ffn_dim, config.num_codes
    with torch.device("meta"):
        is_released = config.backbone.depth == 18
        resnet = torchvision.models.resnet18() if is_released else build_backbone(config.backbone)
    cnn = {k: tuple(v.shape) for k, v in resnet.state_dict().items() if k[:3] != "fc."}
    found = {f"backbone.{name}": shape for name, shape in cnn.items()}
    found |= norm_shapes("neck.conv.bn", width) | norm_shapes("neck.gate_fc.bn", 2)
    found |= {
        "neck.conv.conv.weight": (width, 512 if is_released else 8, 1, 1),
        "neck.gate_fc.conv.weight": (2, 2 * width, 1, 1),
        "neck.ln.weight": (width,),
        "neck.ln.bias": (width,),
        "neck.mask_emb.weight": (1, width),
        "neck.pos_line.weight": (width, width),
        "neck.pos_line.bias": (width,),
        "neck.vq.embed": (codes, width),
        "neck.vq.embed_avg": (codes, width),
        "neck.vq.cluster_size": (codes,),
        "neck.vq.cluster_sum": (codes,),
        "head.match_class.weight": (2, width),
        "mask_l_fc.weight": (config.vocab_size, width),
    }
    embeddings = "language.bert.embeddings"
    rows = {"word": config.vocab_size, "position": config.max_positions, "token_type": 2}
    for name, count in rows.items():
        found[f"{embeddings}.{name}_embeddings.weight"] = (count, width)
    linears = {
        "attention.self.query": (width, width),
        "attention.self.key": (width, width),
        "attention.self.value": (width, width),
        "attention.output.dense": (width, width),
        "intermediate.dense": (inner, width),
        "output.dense": (width, inner),
    }
    norms = [f"{embeddings}.LayerNorm"]
    for number in range(config.layers):
        layer = f"language.bert.encoder.layer.{number}"
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
        for name, shape in linears.items():
            found |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
    for name in norms:
        found |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return found


def norm_shapes(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def published(config: SohoConfig = SMALL) -> dict[str, Tensor]:
    """Random weights of the published code; one matrix of words."""
    state = {}
    for name, shape in shapes(config).items():
        is_counter = name.endswith("num_batches_tracked")
        state[name] = torch.tensor(7) if is_counter else torch.randn(shape)
    words = "language.bert.embeddings.word_embeddings.weight"
    state["mask_l_fc.weight"] = state[words].clone()
    return state


def saved(state: dict[str, Tensor], folder: Path) -> Path:
    """As the published code saves it."""
    path = folder / "soho_res18.pth"
    torch.save(
        {"meta": {"epoch": 40}, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path
    )
    return path


def test_the_196_tensors_of_the_released_checkpoint(tmp_path: Path) -> None:
    config = model_config("soho_r18_3_official")
    tree = shapes(config)
    assert len(tree) == 196
    # All the same number, stored once: shapes are what is looked at.
    state = {
        n: torch.zeros((), dtype=torch.int64 if "tracked" in n else None).expand(s)
        for n, s in tree.items()
    }
    with torch.device("meta"):
        model = config.build()
    converted = convert_weights(model, saved(state, tmp_path), Asked(), "IN")
    assert converted.record.left == converted.record.new == ()


def test_each_tensor_is_where_it_belongs(tmp_path: Path) -> None:
    state = published()
    model = SMALL.build()
    loaded = load_weights(model, saved(state, tmp_path))
    assert loaded.left == loaded.new == ()
    bert = "language.bert.encoder.layer.1"
    thirds = [state[f"{bert}.attention.self.{part}.bias"] for part in ("query", "key", "value")]
    layer = model.encoder.layers[1]
    for ours, theirs in (
        (layer.attention.in_proj_bias, torch.cat(thirds)),
        (layer.attention.out_proj.weight, state[f"{bert}.attention.output.dense.weight"]),
        (layer.norm1.bias, state[f"{bert}.attention.output.LayerNorm.bias"]),
        (layer.ffn.linear1.weight, state[f"{bert}.intermediate.dense.weight"]),
        (layer.ffn.linear2.bias, state[f"{bert}.output.dense.bias"]),
        (layer.norm2.weight, state[f"{bert}.output.LayerNorm.weight"]),
        (model.projection.weight, state["neck.conv.conv.weight"]),
        (model.projection_norm.running_var, state["neck.conv.bn.running_var"]),
        (model.projection_norm.num_batches_tracked, torch.tensor(7)),
        (model.norm.weight, state["neck.ln.weight"]),
        (model.mask_embedding, state["neck.mask_emb.weight"]),
        (model.code_projection.weight, state["neck.pos_line.weight"]),
        (model.gate.conv.weight, state["neck.gate_fc.conv.weight"]),
        (model.gate.norm.bias, state["neck.gate_fc.bn.bias"]),
        (model.dictionary.embed, state["neck.vq.embed"]),
        (model.dictionary.embed_avg, state["neck.vq.embed_avg"]),
        (model.dictionary.cluster_size, state["neck.vq.cluster_size"]),
        (model.dictionary.cluster_sum, state["neck.vq.cluster_sum"]),
        (model.match_head.weight, state["head.match_class.weight"]),
        (model.text_embeddings.word_embeddings.weight, state["mask_l_fc.weight"]),
        (model.text_embeddings.norm.bias, state["language.bert.embeddings.LayerNorm.bias"]),
        (model.backbone.layer2[0].bn2.bias, state["backbone.layer2.0.bn2.bias"]),
    ):
        assert torch.equal(ours, theirs)


def test_words_load_from_either_of_their_two_names(tmp_path: Path) -> None:
    state = published()
    words = state.pop("language.bert.embeddings.word_embeddings.weight")
    model = SMALL.build()
    assert load_weights(model, saved(state, tmp_path)).left == ()
    assert torch.equal(model.text_embeddings.word_embeddings.weight, words)


def test_of_question_answering_the_dictionary_is_new(tmp_path: Path) -> None:
    """The released fine-tuned model has neither dictionary nor gate, and a head of its own."""
    without = ("neck.vq.", "neck.gate_fc.", "neck.pos_line.", "neck.mask_emb.", "head.", "mask_l_")
    state = {n: v for n, v in published().items() if not n.startswith(without)}
    state["head.vqa.0.weight"] = torch.ones(3, 3)
    model = SMALL.build()
    codes = model.dictionary.embed.clone()
    loaded = load_weights(model, saved(state, tmp_path))
    assert loaded.left == ("head.vqa.0.weight",)
    assert {name.split(".")[0] for name in loaded.new} == {
        *("dictionary", "gate", "code_projection", "mask_embedding", "match_head")
    }
    assert torch.equal(model.dictionary.embed, codes)


def test_its_vocabulary_is_bert_s(tmp_path: Path) -> None:
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d")
    Tokenizer(words)
    path = saved(published(), tmp_path)
    with pytest.raises(InputError, match=r"SHA-256 of its vocab\.txt begins with 07eced37, that"):
        load_weights(SMALL.build(), path, vocabulary=words)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (replace(SMALL, conv_bn=False), r"projection\.bias: none there, \(24,\) here"),
        (replace(SMALL, num_codes=6), r"neck\.vq\.cluster_size: \(5,\) there, \(6,\) here"),
        (replace(SMALL, num_heads=6), "is of num_heads 12, this model is of 6"),
        (replace(SMALL, norm_first=True), "is of norm_first False"),
    ],
)
def test_a_model_of_other_switches_is_refused(
    tmp_path: Path, config: SohoConfig, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        load_weights(config.build(), saved(published(), tmp_path))


@pytest.mark.parametrize(
    ("depth", "layers", "millions"), [(18, 3, 57.27), (50, 12, 134.57), (101, 12, 153.56)]
)
def test_parameter_totals(depth: int, layers: int, millions: float) -> None:
    backbone = BackboneConfig(depth=depth, norm="batch")
    with torch.device("meta"):
        model = official(SohoConfig(backbone=backbone, layers=layers)).build()
    total = sum(p.numel() for p in model.parameters())
    assert total / 1e6 == pytest.approx(millions, abs=0.005)
