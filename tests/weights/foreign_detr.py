"""A small DETR of transformers, its state in all layouts, and the E2E-VLP that it fits.

The published names are written from Hugging Face's word by word, and not by the tables under test.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

from vlp_fast.models.config import BackboneConfig, E2EVLPConfig
from vlp_fast.weights.coco_classes import COCO_CLASSES

COCO = tuple(name for _, name in COCO_CLASSES)
BACKBONE = BackboneConfig(
    depth=None, block="bottleneck", blocks=(1, 2, 1, 1), widths=(4, 8, 16, 24), norm="frozen"
)
TINY = E2EVLPConfig(
    backbone=BACKBONE,
    width=32,
    num_heads=8,
    head_dim=4,
    ffn_dim=24,
    encoder_layers=2,
    decoder_layers=3,
    num_queries=6,
    vocab_size=9,
    num_classes=80,
)


def random_detr() -> DetrForObjectDetection:
    torch.manual_seed(0)
    resnet = ResNetConfig(
        embedding_size=4,
        hidden_sizes=[16, 32, 64, 96],
        depths=[1, 2, 1, 1],
        layer_type="bottleneck",
        out_features=["stage4"],
    )
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone_config=resnet,
        d_model=32,
        encoder_layers=2,
        decoder_layers=3,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        num_queries=6,
        num_labels=91,
    )
    model = DetrForObjectDetection(config).eval()
    # Wide enough that queries, layers and biases are told apart behind three decoder layers.
    for name, value in model.state_dict().items():
        if value.dim() > 1:
            value.normal_().mul_(2 / value[0].numel() ** 0.5)
        elif name.endswith("bias"):
            value.normal_().mul_(0.1)
        else:
            value.uniform_(0.5, 1.5)
    model.model.query_position_embeddings.weight.data.normal_().mul_(3)
    return model


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state of Hugging Face's under the published names."""
    named: dict[str, Tensor] = {}
    for name, value in state.items():
        words = name.removeprefix("model.").split(".")
        if words[0] == "backbone":
            named[f"backbone.0.body.{torchvision_name(words[2:])}"] = value
        elif words[0] in ("encoder", "decoder") and words[1] == "layers":
            stem = ".".join(["transformer", *words[:3]])
            if words[4] in ("q_proj", "k_proj", "v_proj"):
                if words[4] == "q_proj":
                    thirds = [state[name.replace("q_proj", f"{x}_proj")] for x in "qkv"]
                    attention = {"self_attn": "self_attn", "encoder_attn": "multihead_attn"}
                    named[f"{stem}.{attention[words[3]]}.in_proj_{words[5]}"] = torch.cat(thirds)
            else:
                part = ".".join(words[3:-1])
                named[f"{stem}.{PARTS[words[0]][part]}.{words[-1]}"] = value
        else:
            named[f"{REST['.'.join(words[:-1])]}.{words[-1]}"] = value
    return named


def torchvision_name(words: list[str]) -> str:
    kinds = {"convolution": "conv", "normalization": "bn"}
    if words[0] == "embedder":
        return f"{kinds[words[2]]}1.{words[3]}"
    stem = f"layer{int(words[2]) + 1}.{words[4]}"
    if words[5] == "shortcut":
        return f"{stem}.downsample.{0 if words[6] == 'convolution' else 1}.{words[7]}"
    return f"{stem}.{kinds[words[7]]}{int(words[6]) + 1}.{words[8]}"


SHARED = {
    "self_attn.o_proj": "self_attn.out_proj",
    "mlp.fc1": "linear1",
    "mlp.fc2": "linear2",
    "self_attn_layer_norm": "norm1",
}
PARTS = {
    "encoder": {**SHARED, "final_layer_norm": "norm2"},
    "decoder": {
        **SHARED,
        "encoder_attn.o_proj": "multihead_attn.out_proj",
        "encoder_attn_layer_norm": "norm2",
        "final_layer_norm": "norm3",
    },
}
REST = {
    "decoder.layernorm": "transformer.decoder.norm",
    "query_position_embeddings": "query_embed",
    "input_projection": "input_proj",
    "class_labels_classifier": "class_embed",
    **{f"bbox_predictor.layers.{number}": f"bbox_embed.layers.{number}" for number in range(3)},
}


def older(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names that the files on Hugging Face's hub have."""
    changes = (
        ("backbone.model.", "backbone.conv_encoder.model."),
        (".o_proj.", ".out_proj."),
        (".mlp.fc", ".fc"),
    )
    named = {}
    for name, value in state.items():
        words = name.split(".")
        if words[1] == "backbone":
            name = f"model.backbone.model.{torchvision_name(words[3:])}"  # of timm
        for new, old in changes:
            name = name.replace(new, old)
        named[name] = value
    return named


LAYOUTS = {
    "published": lambda state: {"model": published(state)},
    "hugging face": lambda state: state,
    "older": older,
    "without heads": lambda state: {
        name.removeprefix("model."): value for name, value in state.items()
    },
}


def saved(detr: DetrForObjectDetection, layout: str, folder: Path) -> Path:
    path = folder / "detr.pth"
    state = {name: value.clone() for name, value in detr.state_dict().items()}
    torch.save(LAYOUTS[layout](state), path)
    return path
