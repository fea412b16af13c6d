"""The CNN of either model, from its configuration."""

from vlp_fast.layers.backbone import ResNet, resnet
from vlp_fast.models.config import BackboneConfig


def build_backbone(config: BackboneConfig) -> ResNet:
    """Builds the residual network described, with random weights and its frozen stages frozen."""
    if config.depth is None:
        backbone = ResNet(
            block=config.block,
            blocks=config.blocks,
            widths=config.widths,
            norm=config.norm,
            stem=config.stem,
            remask=config.remask,
        )
    else:
        backbone = resnet(config.depth, norm=config.norm, remask=config.remask)
    backbone.freeze(config.freeze_stages)
    return backbone
