"""Checkpoints that are complete or absent: safetensors and json, no pickle.

A checkpoint is a folder `checkpoint-<step>`, written as `.checkpoint.partial`, flushed to disk and
renamed; state.json is written last and has the sizes and checksums of the other files, so that a
folder that lacks it or disagrees with it is not one. An old checkpoint is renamed to
`.checkpoint.old` and then deleted. What a kill leaves under these two names, the next save deletes.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import Optimizer

from vlp_fast.engine.optimizer_state import restore
from vlp_fast.engine.parameters import Parameters
from vlp_fast.engine.snapshot import Snapshot
from vlp_fast.errors import InputError
from vlp_fast.weights.checkpoints import (
    MODEL,
    OPTIMIZER,
    State,
    checkpoint_name,
    checksum_of,
    complete_checkpoints,
    is_due,
    is_intact,
    named_checkpoints,
    newest_checkpoint,
    read_state,
    step_of,
)
from vlp_fast.whole_file import sync, write_json

__all__ = [
    "complete_checkpoints",
    "load_checkpoint",
    "load_model",
    "newest_checkpoint",
    "read_state",
    "save_checkpoint",
]

PARTIAL, OLD = ".checkpoint.partial", ".checkpoint.old"
UNFIT = (OSError, SafetensorError, RuntimeError, LookupError, ValueError, TypeError, AttributeError)
"""What goes wrong while state that is of other optimisers, or nonsense, is put back."""


def save_checkpoint(folder: Path, step: int, snapshot: Snapshot, *, keep: int) -> Path:
    """Write one checkpoint atomically and delete the oldest beyond `keep`.

    Newer ones are left alone and do not count: a run that goes on from an older checkpoint has
    passed over them because they are damaged. One that no setting has asked for does not count
    either, and is deleted with the next one.

    Args:
        folder: the run folder.
        step: optimiser steps done.
        snapshot: what it holds; its json values have a dict "scaler".
        keep: how many checkpoints stay, this one included.

    Raises:
        InputError: if the disk is full or the folder cannot be written.
    """
    final = folder / checkpoint_name(step)
    try:
        _write(final, step, snapshot)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(folder / PARTIAL, ignore_errors=True)
        raise InputError(
            f"{final}: cannot be written ({error}); free some space, and the same command goes on "
            "from the checkpoint before"
        ) from None
    with contextlib.suppress(InputError):  # one that cannot be read stays: whoever resumes is told
        for path in _superseded(folder, step, keep):
            with contextlib.suppress(OSError):
                remove(path)
    return final


def _superseded(folder: Path, step: int, keep: int) -> list[Path]:
    known = [path for path in complete_checkpoints(folder) if step_of(path) <= step]
    due = [path for path in known if is_due(path)]
    others = [path for path in known if path not in due and step_of(path) < step]
    return others + due[: max(len(due) - keep, 0)]


def _write(final: Path, step: int, snapshot: Snapshot) -> None:
    partial = final.with_name(PARTIAL)
    clear(partial)
    clear(final.with_name(OLD))
    if is_intact(final):
        return  # of this very run, which would have gone on from a newer one
    partial.mkdir(parents=True)
    snapshot.wait()
    for name, values in snapshot.files.items():
        save_file(values, partial / name)
        sync(partial / name)
    paths = [partial / name for name in snapshot.files]
    files = {path.name: [path.stat().st_size, checksum_of(path)] for path in paths}
    write_json(
        partial / "state.json", {"step": step, "files": files, **snapshot.state}
    )  # which flushes the folder, too
    remove(final)  # a damaged one
    partial.rename(final)
    sync(final.parent)


def delete_newer(path: Path) -> None:
    """Delete the checkpoints of later steps than this one, the newest first.

    Raises:
        InputError: if one cannot be deleted.
    """
    for other in reversed(named_checkpoints(path.parent)):
        if step_of(other) > step_of(path):
            try:
                remove(other)
            except OSError as error:
                raise InputError(
                    f"{other}: cannot be deleted ({error.strerror}), and the run goes on from "
                    f"{path.name}; delete it, and give the same command again"
                ) from None


def remove(path: Path) -> None:
    """Delete a checkpoint so that a kill leaves no half of it under its name."""
    if path.is_dir():
        old = path.with_name(OLD)
        clear(old)
        path.rename(old)
        clear(old)


def clear(path: Path) -> None:
    """Delete what lies under a name of our own."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizers: list[Optimizer],
    parameters: Parameters | None = None,
) -> State:
    """Restore model and optimisers in place; returns state.json.

    Args:
        path: the checkpoint.
        model, optimizers: of the same kind.
        parameters: of the model; whole ones if not given.

    Raises:
        InputError: if the checkpoint holds another model or other optimisers.
    """
    state = read_state(path)
    own = parameters or Parameters(model)
    load_model(path, model, parameters=own)
    try:
        restore(optimizers, own, load_file(path / OPTIMIZER), state["optimizers"], own.part)
    except UNFIT as error:
        raise InputError(
            f"{path}: holds other optimisers ({_line(error)}); give another --run-dir"
        ) from None
    return state


def load_model(
    path: Path, model: nn.Module, file: str = MODEL, parameters: Parameters | None = None
) -> None:
    """Restore a model from a checkpoint, in place.

    Args:
        path: the checkpoint.
        model: of the same kind.
        file: the checkpoint's with the model, or the one with averaged weights.
        parameters: of the model; whole ones if not given.

    Raises:
        InputError: if the checkpoint holds another model or cannot be read.
    """
    try:
        state = load_file(path / file)
        model.load_state_dict(parameters.loadable(state) if parameters else state)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path / file}: cannot be read ({_line(error)}); put a copy back or delete {path}"
        ) from None
    except RuntimeError as error:
        raise InputError(
            f"{path}: holds another model ({_line(error)}); give another --run-dir"
        ) from None


def _line(error: Exception) -> str:
    """The line of an error that says most: torch names the first difference in the second."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[:2][-1].strip().split(", ", maxsplit=1)[0][:120]
