"""Small detection models of transformers with random weights, of each family that is known."""

from typing import Any

import torch
import transformers
from torch import Tensor, nn

CLASSES, QUERIES, LAYERS = 5, 7, 3
_HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
_SIZES = {
    "encoder_layers": 1,
    "decoder_layers": LAYERS,
    "num_queries": QUERIES,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    **_HEADS,
}
_BACKBONE = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
FAMILIES = {
    "Detr": "SoftmaxLoss",
    "TableTransformer": "SoftmaxLoss",
    "Yolos": "SoftmaxLoss",
    "ConditionalDetr": "FocalLoss",
    "DeformableDetr": "FocalLoss",
    "DabDetr": "FocalLoss",
    "RTDetr": "VarifocalLoss",
    "RTDetrV2": "VarifocalLoss",
    "LwDetr": "GroupedLoss",
    "RfDetr": "GroupedLoss",
}
"""Names in transformers, and ours for the loss of each."""


def detector(family: str, **options: Any) -> nn.Module:
    """Returns one in training, without dropout."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**_options(family), **options)
    model: nn.Module = getattr(transformers, f"{family}ForObjectDetection")(config)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.train()


def batch(family: str = "") -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Returns two pictures, of three objects and of one."""
    draw = torch.Generator().manual_seed(1)
    side = 32 if family == "Yolos" else 64
    return torch.randn(2, 3, side, side, generator=draw), annotations([3, 1])


def annotations(counts: list[int], *, seed: int = 2) -> list[dict[str, Tensor]]:
    """Returns objects of each image, under transformers' names."""
    draw = torch.Generator().manual_seed(seed)
    return [
        {
            "class_labels": torch.randint(CLASSES, (count,), generator=draw),
            "boxes": boxes(count, draw=draw),
        }
        for count in counts
    ]


def boxes(*shape: int, draw: torch.Generator) -> Tensor:
    """Returns boxes within the image, `(cx, cy, w, h)`."""
    centre, size = (torch.rand(*shape, 2, generator=draw) for _ in range(2))
    return torch.cat([0.2 + 0.6 * centre, 0.05 + 0.35 * size], -1)


def _options(family: str) -> dict[str, Any]:
    resnet: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
    deep: dict[str, Any] = {
        "embedding_size": 8,
        "hidden_sizes": [8, 8, 16, 16],
        "depths": [1] * 4,
        "out_features": ["stage2", "stage3", "stage4"],
    }
    common = {"num_labels": CLASSES, "auxiliary_loss": True}
    if family == "Yolos":
        vit = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        vit |= {"intermediate_size": 16, "patch_size": 8, "num_detection_tokens": QUERIES}
        return {**vit, "image_size": [32, 32], "num_labels": CLASSES}
    if family.startswith("RTDetr"):
        backbone = transformers.RTDetrResNetConfig(layer_type="basic", **deep)
        sizes = {**_SIZES, "d_model": 16, "encoder_hidden_dim": 16, "num_denoising": 8}
        levels = {"num_feature_levels": 3, "decoder_n_points": 2, "encode_proj_layers": [2]}
        channels = {"encoder_in_channels": [8, 16, 16], "decoder_in_channels": [16] * 3}
        return {**common, **sizes, **levels, **channels, "backbone_config": backbone}
    if family in ("LwDetr", "RfDetr"):
        sizes = {"d_model": 16, "decoder_layers": LAYERS, "num_queries": QUERIES, "group_detr": 2}
        sizes |= {"decoder_self_attention_heads": 2, "decoder_cross_attention_heads": 2}
        sizes |= {"decoder_ffn_dim": 32, "decoder_n_points": 2, "projector_scale_factors": [1.0]}
        return {**common, **sizes, "backbone_config": _vit(family)}
    if family == "DeformableDetr":
        backbone = transformers.ResNetConfig(**deep)
    else:
        backbone = transformers.ResNetConfig(**resnet, out_features=["stage2"])
    width: dict[str, Any] = {"hidden_size" if family == "DabDetr" else "d_model": 32}
    return {**common, **_BACKBONE, **_SIZES, **width, "backbone_config": backbone}


def _vit(family: str) -> Any:
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"image_size": 64, "patch_size": 16}
    if family == "RfDetr":
        names = ["stage1", "stage2"]
        return transformers.RfDetrDinov2Config(num_windows=2, out_features=names, **sizes)
    windows = {"pretrain_image_size": 64, "window_block_indices": [0], "num_windows": 4}
    return transformers.LwDetrViTConfig(out_indices=[1, 2], **windows, **sizes)
