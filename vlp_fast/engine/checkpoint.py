"""Checkpoints that are complete or absent: safetensors and json, no pickle.

A checkpoint is a folder `checkpoint-<step>`, written as `.checkpoint.partial`, flushed to disk and
renamed; state.json is written last and has the sizes and checksums of the two other files, so that
a folder that lacks it or disagrees with it is not one. An old checkpoint is renamed to
`.checkpoint.old` and then deleted. What a kill leaves under these two names, the next save deletes.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import stat
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from vlp_fast.data.sources.folders import names_in
from vlp_fast.engine.optimizer_state import flatten, restore
from vlp_fast.errors import InputError
from vlp_fast.whole_file import sync, write_json

State = dict[str, Any]

NAME = re.compile(r"checkpoint-([0-9]{8,})")
PARTIAL, OLD = ".checkpoint.partial", ".checkpoint.old"
MODEL, OPTIMIZER = FILES = ("model.safetensors", "optimizer.safetensors")
KINDS = {"step": int, "files": dict, "optimizers": list, "scaler": dict}
"""What state.json cannot lack; the rest is the caller's."""

UNFIT = (OSError, SafetensorError, RuntimeError, LookupError, ValueError, TypeError, AttributeError)
"""What goes wrong while state that is of other optimisers, or nonsense, is put back."""


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

    Newer ones are left alone and do not count: a run that goes on from an older checkpoint has
    passed over them because they are damaged.

    Args:
        folder: the run folder.
        step: optimiser steps done.
        model: its state_dict is written to model.safetensors.
        optimizers: their tensors go to optimizer.safetensors, their numbers to state.json.
        extra: further json values; "scaler" is a dict.
        keep: how many checkpoints stay, this one included.

    Raises:
        InputError: if the disk is full or the folder cannot be written.
    """
    final = folder / _name(step)
    try:
        _write(final, step, model, optimizers, extra)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(folder / PARTIAL, ignore_errors=True)
        raise InputError(
            f"{final}: cannot be written ({error}); free some space, and the same command goes on "
            "from the checkpoint before"
        ) from None
    with contextlib.suppress(InputError):  # one that cannot be read stays: whoever resumes is told
        older = [path for path in complete_checkpoints(folder) if _step(path) < step]
        for path in older[: max(len(older) - keep + 1, 0)]:
            with contextlib.suppress(OSError):
                _remove(path)
    return final


def _write(
    final: Path, step: int, model: nn.Module, optimizers: list[Optimizer], extra: State
) -> None:
    partial = final.with_name(PARTIAL)
    _clear(partial)
    _clear(final.with_name(OLD))
    if _is_intact(final):
        return  # of this very run, which would have gone on from a newer one
    partial.mkdir(parents=True)
    tensors, numbers = flatten(optimizers)
    for name, values in ((MODEL, _detached(model.state_dict())), (OPTIMIZER, tensors)):
        save_file(values, partial / name)
        sync(partial / name)
    files = {name: [(partial / name).stat().st_size, _checksum(partial / name)] for name in FILES}
    state = {"step": step, "files": files, "optimizers": numbers, **extra}
    write_json(partial / "state.json", state)  # which flushes the folder, too
    _remove(final)  # a damaged one
    partial.rename(final)
    sync(final.parent)


def _remove(path: Path) -> None:
    """Delete a checkpoint so that a kill leaves no half of it under its name."""
    if path.is_dir():
        old = path.with_name(OLD)
        _clear(old)
        path.rename(old)
        _clear(old)


def _clear(path: Path) -> None:
    """Delete what lies under a name of our own."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path, ignore_errors=True)


def complete_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a run folder, oldest first; contents are not read.

    Raises:
        InputError: if the folder or one of them may not be read.
    """
    return [path for path in _named(folder) if _state(path) is not None]


def newest_checkpoint(
    folder: Path, say: Callable[[str], object] = lambda line: None
) -> Path | None:
    """The newest complete checkpoint whose files have their checksums; None if none is complete.

    Args:
        folder: the run folder.
        say: gets one line if newer ones were passed over.

    Raises:
        InputError: if there are complete checkpoints and the files of all have changed, or one may
            not be read: it is neither damaged nor absent, and nothing begins in its place.
    """
    named = _named(folder)
    found = next((path for path in reversed(named) if _is_intact(path)), None)
    if found is None and (complete := complete_checkpoints(folder)):
        raise InputError(
            f"{complete[-1]}: its files differ from their checksums, and so do those of every "
            "other checkpoint; put a copy back, or delete them to start anew"
        )
    passed = named[named.index(found) + 1 :] if found else named
    if passed:
        names = ", ".join(path.name for path in passed)
        begin = f"the run goes on from {found.name}" if found else "there is no other one"
        say(f"damaged and passed over: {names}; {begin}")
    return found


def read_state(path: Path) -> State:
    """The state.json of a complete checkpoint.

    Raises:
        InputError: if it is not one.
    """
    state = _state(path)
    if state is None:
        raise InputError(f"{path}: is no complete checkpoint; give another --run-dir")
    return state


def load_checkpoint(path: Path, model: nn.Module, optimizers: list[Optimizer]) -> State:
    """Restore model and optimisers in place; returns state.json.

    Raises:
        InputError: if the checkpoint holds another model or other optimisers.
    """
    state = read_state(path)
    load_model(path, model)
    try:
        restore(optimizers, load_file(path / OPTIMIZER), state["optimizers"])
    except UNFIT as error:
        raise InputError(
            f"{path}: holds other optimisers ({_line(error)}); give another --run-dir"
        ) from None
    return state


def load_model(path: Path, model: nn.Module) -> None:
    """Restore a model from a checkpoint, in place.

    Raises:
        InputError: if the checkpoint holds another model or cannot be read.
    """
    try:
        model.load_state_dict(load_file(path / MODEL))
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path / MODEL}: cannot be read ({_line(error)}); put a copy back or delete {path}"
        ) from None
    except RuntimeError as error:
        raise InputError(
            f"{path}: holds another model ({_line(error)}); give another --run-dir"
        ) from None


def _line(error: Exception) -> str:
    """The line of an error that says most: torch names the first difference in the second."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[:2][-1].strip().split(", ", maxsplit=1)[0][:120]


def _name(step: int) -> str:
    return f"checkpoint-{step:08d}"


def _step(path: Path) -> int:
    return int(path.name.removeprefix("checkpoint-"))


def _named(folder: Path) -> list[Path]:
    """What is called like a checkpoint and is a folder, oldest first."""
    found = [folder / name for name in names_in(folder) if NAME.fullmatch(name)]
    return sorted((path for path in found if path.is_dir()), key=_step)


def _state(path: Path) -> State | None:
    """The state.json of a folder that is a complete checkpoint; None for any other.

    Raises:
        InputError: if it may not be read.
    """
    try:
        if not all(stat.S_ISREG((path / name).stat().st_mode) for name in (*FILES, "state.json")):
            return None
        state: State = json.loads((path / "state.json").read_text())
        sizes = {name: size for name, (size, _) in state["files"].items()}
        is_complete = (
            all(type(state[name]) is kind for name, kind in KINDS.items())
            and path.name == _name(state["step"])
            and sizes == {name: (path / name).stat().st_size for name in FILES}
        )
    except PermissionError as error:
        raise _forbidden(path, error) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return state if is_complete else None


def _is_intact(path: Path) -> bool:
    """Whether a folder is a complete checkpoint and its files have their checksums."""
    state = _state(path)
    if state is None:
        return False
    try:
        return all(_checksum(path / name) == state["files"][name][1] for name in FILES)
    except PermissionError as error:
        raise _forbidden(path, error) from None
    except OSError:
        return False


def _forbidden(path: Path, error: PermissionError) -> InputError:
    return InputError(
        f"{path}: {error.strerror}; give yourself the right to read it, or give another --run-dir"
    )


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _detached(state: dict[str, Tensor]) -> dict[str, Tensor]:
    # clone: tied weights share memory, which the file format refuses
    return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
