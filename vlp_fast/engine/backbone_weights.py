"""Where a CNN starts when it starts from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vlp_fast.data.given_paths import check_file
from vlp_fast.errors import InputError

WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts keep the state dict beside other things."""
PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put in front of names."""


def load_backbone(path: Path, backbone: nn.Module) -> None:
    """Load a torchvision ResNet's weights; its classifier (`fc`) is left out.

    Raises:
        InputError: if the file is missing, unreadable, or of another network.
    """
    named = {_bare(name): value for name, value in _read(path).items()}
    state = {name: value for name, value in named.items() if not name.startswith("fc.")}
    wanted = {name: value.shape for name, value in backbone.state_dict().items()}
    found = {name: value.shape for name, value in state.items()}
    counters = {n for n in (*wanted, *found) if n.endswith("num_batches_tracked")}
    differing = sorted(
        n for n in (wanted.keys() | found.keys()) - counters if wanted.get(n) != found.get(n)
    )
    if differing:
        raise InputError(
            f"{path}: is another network than --model.backbone: {len(differing)} tensors differ, "
            f"the first is {differing[0]}"
        )
    fitting = {n: value for n, value in state.items() if wanted.get(n) == value.shape}
    backbone.load_state_dict(fitting, strict=False)


def _bare(name: str) -> str:
    """The name as the network itself has it, whatever it was wrapped into."""
    while name.startswith(PREFIXES):
        name = name.partition(".")[2]
    return name


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name."""
    check_file(path, "--train.backbone-weights", "a state dict")
    state: Any
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path}: not a readable state dict ({type(error).__name__})") from None
    for key in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        raise InputError(
            f"{path}: holds a {type(state).__name__}, expected a state dict of names and tensors"
        )
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InputError(
                f"{path}: holds a {type(value).__name__} under {name!r}, expected a state dict "
                "of names and tensors"
            )
    return state
