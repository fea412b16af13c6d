"""Where a CNN starts when it starts from a file."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from vlp_fast.weights import load


def load_backbone(path: Path, backbone: nn.Module) -> None:
    """Load a torchvision ResNet's weights; its classifier (`fc`) is left out.

    Raises:
        InputError: if the file is missing, unreadable, or of another network.
    """
    load.load_backbone(path, backbone, "--train.backbone-weights")
