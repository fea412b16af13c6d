"""Files that the papers' recipes start from: a folder `weights/` of what people download once.

Both papers mean torchvision's first weights of each ResNet (2021). Nothing is downloaded here; a
file that is missing says where people get it. `--init` gives others, or none.
"""

from __future__ import annotations

from pathlib import Path

from vlp_fast.models.config import ModelConfig

WEIGHTS = Path("weights")
RESNETS = {
    18: "resnet18-f37072fd.pth",
    34: "resnet34-b627a593.pth",
    50: "resnet50-0676ba61.pth",
    101: "resnet101-63fe2227.pth",
    152: "resnet152-394f9c45.pth",
}


def resnet(model: ModelConfig) -> Path:
    """The file of a model's CNN."""
    depth = model.backbone.depth
    assert depth is not None
    return WEIGHTS / RESNETS[depth]
