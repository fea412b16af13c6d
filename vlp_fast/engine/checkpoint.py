"""Checkpoints that are complete or absent: safetensors and json, no pickle.

A checkpoint is a folder `checkpoint-<step>`, written under a temporary name, flushed to disk and
renamed; state.json is written last and lists the size and checksum of every file, so that a folder
that lacks it or disagrees with it is not one.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from vlp_fast.errors import InputError

State = dict[str, Any]


def save_checkpoint(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizers: list[Optimizer],
    *,
    extra: State,
    keep: int,
) -> Path:
    """Write one checkpoint atomically and delete the oldest beyond `keep`.

    Args:
        folder: the run folder.
        step: optimiser steps done.
        model: its state_dict is written to model.safetensors.
        optimizers: their tensors go to optimizer.safetensors, their numbers to state.json.
        extra: further json values.
        keep: how many checkpoints stay.
    """
    final = folder / f"checkpoint-{step:08d}"
    temporary = folder / f".{final.name}.partial"
    try:
        _write_checkpoint(final, temporary, step, model, optimizers, extra)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise InputError(
            f"{final}: cannot be written ({error}); free some space, and the same command goes on "
            "from the checkpoint before"
        ) from None
    for old in complete_checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _write_checkpoint(
    final: Path,
    temporary: Path,
    step: int,
    model: nn.Module,
    optimizers: list[Optimizer],
    extra: State,
) -> None:
    if _is_complete(final) and _is_intact(final):
        return  # of this very run, which would have gone on from a newer one
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    tensors, numbers = _flatten(optimizers)
    save_file(_detached(model.state_dict()), temporary / "model.safetensors")
    save_file(tensors, temporary / "optimizer.safetensors")
    _sync(temporary / "model.safetensors")
    _sync(temporary / "optimizer.safetensors")
    files = {
        path.name: [path.stat().st_size, _checksum(path)] for path in sorted(temporary.iterdir())
    }
    state = {"step": step, "files": files, "optimizers": numbers, **extra}
    write_json(temporary / "state.json", state)
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    _sync(final.parent)


def complete_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a run folder, oldest first; contents are not read."""
    return [path for path in sorted(folder.glob("checkpoint-*")) if _is_complete(path)]


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint whose files still have their checksums, or None."""
    found = (path for path in reversed(complete_checkpoints(folder)) if _is_intact(path))
    return next(found, None)


def load_checkpoint(path: Path, model: nn.Module, optimizers: list[Optimizer]) -> State:
    """Restore model and optimisers in place; returns state.json.

    Raises:
        InputError: if the checkpoint holds another model.
    """
    state: State = json.loads((path / "state.json").read_text())
    load_model(path, model)
    _restore(optimizers, load_file(path / "optimizer.safetensors"), state["optimizers"])
    return state


def load_model(path: Path, model: nn.Module) -> None:
    """Restore a model from a checkpoint, in place.

    Raises:
        InputError: if the checkpoint holds another model.
    """
    try:
        model.load_state_dict(load_file(path / "model.safetensors"))
    except RuntimeError as error:
        raise InputError(
            f"{path}: holds another model ({_first_difference(error)}); give another --run-dir"
        ) from None


def _first_difference(error: RuntimeError) -> str:
    return str(error).splitlines()[1].strip().split(", ", maxsplit=1)[0][:120]


def write_json(path: Path, value: object) -> None:
    """Write json under a temporary name, flush it, and rename it into place."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(json.dumps(value, indent=2, default=str) + "\n")
    _sync(temporary)
    temporary.replace(path)


def _is_complete(path: Path) -> bool:
    try:
        state = json.loads((path / "state.json").read_text())
        sizes = {name: size for name, (size, _) in state["files"].items()}
        is_whole = {"step", "optimizers"} <= state.keys() and bool(sizes)
        return is_whole and all((path / n).stat().st_size == s for n, s in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _is_intact(path: Path) -> bool:
    return all(_checksum(path / name) == value for name, (_, value) in _files(path).items())


def _files(path: Path) -> dict[str, tuple[int, int]]:
    files: dict[str, tuple[int, int]] = json.loads((path / "state.json").read_text())["files"]
    return files


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _detached(state: dict[str, Tensor]) -> dict[str, Tensor]:
    # clone: tied weights share memory, which the file format refuses
    return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}


def _flatten(optimizers: list[Optimizer]) -> tuple[dict[str, Tensor], list[State]]:
    tensors: dict[str, Tensor] = {}
    numbers: list[State] = []
    for index, optimizer in enumerate(optimizers):
        state = optimizer.state_dict()
        plain: State = {"groups": state["param_groups"], "values": {}}
        for parameter, values in state["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"{index}.{parameter}.{name}"] = (
                        value.detach().cpu().clone().contiguous()
                    )
                else:
                    plain["values"][f"{parameter}.{name}"] = value
        numbers.append(plain)
    return tensors, numbers


def _restore(optimizers: list[Optimizer], tensors: dict[str, Tensor], numbers: list[State]) -> None:
    for index, (optimizer, plain) in enumerate(zip(optimizers, numbers, strict=True)):
        state: dict[int, State] = {}
        for key, value in tensors.items():
            owner, parameter, name = key.split(".")
            if int(owner) == index:
                state.setdefault(int(parameter), {})[name] = value
        for key, value in plain["values"].items():
            parameter, name = key.split(".")
            state.setdefault(int(parameter), {})[name] = value
        # The settings of this run, not of the one that wrote the file; only the order is its.
        groups = [
            {**now, "params": then["params"]}
            for now, then in zip(optimizer.param_groups, plain["groups"], strict=True)
        ]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        _match_layouts(optimizer)


def _match_layouts(optimizer: Optimizer) -> None:
    """Lay state out in memory as its parameter: fused optimisers walk both in one order."""
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_backbone(path: Path, backbone: nn.Module) -> None:
    """Load a torchvision ResNet's weights; its classifier (`fc`) is left out.

    Raises:
        InputError: if the file is missing, unreadable, or of another network.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; --train.backbone-weights takes a state dict")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path}: not a readable state dict ({type(error).__name__})") from None
    state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    wanted = {name: value.shape for name, value in backbone.state_dict().items()}
    found = {name: getattr(value, "shape", None) for name, value in state.items()}
    counters = {n for n in (*wanted, *found) if n.endswith("num_batches_tracked")}
    differing = sorted(
        n for n in (wanted.keys() | found.keys()) - counters if wanted.get(n) != found.get(n)
    )
    if differing:
        raise InputError(
            f"{path}: is another network than --model.backbone: {len(differing)} tensors differ, "
            f"the first is {differing[0]}"
        )
    backbone.load_state_dict({n: v for n, v in state.items() if n in wanted}, strict=False)
