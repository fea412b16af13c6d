"""Tensors of a file by name, unread: safetensors, or what `torch.load` reads without running code.

Both kinds are mapped into memory: a shape costs nothing, and a value is read where it is used.
Files of before torch 1.6 cannot be mapped and are read whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from vlp_fast.data.printable import printable
from vlp_fast.data.sources.json_files import shown
from vlp_fast.errors import InputError
from vlp_fast.weights.published import check_weights_file

WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts keep the state dict beside other things."""
PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put in front of names."""

ZIP = b"PK\x03\x04"
"""Begins what `torch.save` has written since torch 1.6."""
HEADER = b"{"
"""Of safetensors, behind the eight bytes of its length."""
LONGEST = 120
"""Letters of a stranger's name that messages show."""
POINTER = b"version https://git-lfs"
TEXT = bytes((*b"\t\n\r", *range(32, 127)))
CODE = re.compile(r"GLOBAL (\S+)")
"""In torch's message: what a pickle would have called."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StateFile:
    """A state dict.

    Attributes:
        path: the file.
        tensors: by name, without what training wraps names into; not to be written to.
        metadata: texts in the header of a safetensors file.
    """

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_state_file(path: Path, option: str = "pretrained") -> StateFile:
    """Map a file of tensors.

    Args:
        path: safetensors, or a file of `torch.save`: what is in it tells, not its name.
        option: what gives it, for the message where it is missing.

    Raises:
        InputError: if it is missing, damaged, holds code, has a name twice, or is no state dict.
    """
    check_weights_file(path, option)
    metadata: dict[str, str] = {}
    try:
        if _is_safetensors(path):
            state, metadata = _safetensors(path)
        else:
            state = _pickled(path)
    except Exception as error:
        raise InputError(f"{path}: not a readable state dict ({_reason(path, error)})") from None
    tensors = _unwrapped(path, _state_dict(path, state))
    return StateFile(path=path, tensors=tensors, metadata=metadata)


def shortened(name: str) -> str:
    """A name from a stranger's file, for a message."""
    return printable(name if len(name) <= LONGEST else f"{name[:LONGEST]}...")


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        begin = file.read(9)
    is_named = path.suffix == ".safetensors" and not begin.startswith(ZIP)
    return is_named or begin[8:] == HEADER


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _pickled(path: Path) -> Any:
    with path.open("rb") as file:
        is_zip = file.read(len(ZIP)) == ZIP
    return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)


def _reason(path: Path, error: Exception) -> str:
    """What the file is instead: it holds code, it is empty, text, or damaged."""
    if found := CODE.search(str(error)):
        return f"it holds code, {printable(found[1])}, which is not run; save the state dict alone"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    with path.open("rb") as file:
        begin = file.read(1024)
    if not begin:
        return "it is empty; download or save it again"
    if begin.startswith(POINTER):
        return "it is a pointer of Git LFS; fetch the file itself with `git lfs pull`"
    if not begin.strip(TEXT):
        return (
            f"it is text that begins with {shown(begin[:24].decode())}; give a file that "
            "torch.save or safetensors wrote"
        )
    return f"it is damaged or of another format: {type(error).__name__}; download or save it again"


def _state_dict(path: Path, state: Any) -> dict[str, Tensor]:
    """The names and tensors among what was saved."""
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
                f"{path}: holds a {type(value).__name__} under {shortened(repr(name))}, expected a "
                "state dict of names and tensors"
            )
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise InputError(
                f"{path}: {shortened(name)} is quantised, sparse or without values; save it as an "
                "ordinary tensor"
            )
    return {name: value.detach() for name, value in state.items()}


def _unwrapped(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        if _bare(name) in tensors:
            raise InputError(
                f"{printable(path)}: holds {shortened(_bare(name))} twice, with and without what "
                "training puts in front; save the one that is meant"
            )
        tensors[_bare(name)] = value
    return tensors


def _bare(name: str) -> str:
    """The name as the network itself has it, whatever it was wrapped into."""
    while name.startswith(PREFIXES):
        name = name.partition(".")[2]
    return name
