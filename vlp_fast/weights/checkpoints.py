"""Which checkpoints of a run folder are whole; engine/checkpoint.py writes them.

A checkpoint is a folder `checkpoint-<step>` whose state.json has the sizes and checksums of its
other files; a folder that lacks it or disagrees with it is not one. Where a run averages its
weights, one more file is the model with the average, which is what everybody but the run uses.
"""

from __future__ import annotations

import json
import re
import stat
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlp_fast.data.sources.folders import names_in
from vlp_fast.errors import InputError

State = dict[str, Any]

NAME = re.compile(r"checkpoint-([0-9]{8,})")
MODEL, OPTIMIZER = FILES = ("model.safetensors", "optimizer.safetensors")
AVERAGE = "average.safetensors"
KINDS = {"step": int, "files": dict, "optimizers": list, "scaler": dict}
"""What state.json cannot lack; the rest is the caller's."""


def complete_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a run folder, oldest first; contents are not read.

    Raises:
        InputError: if the folder or one of them may not be read.
    """
    return [path for path in named_checkpoints(folder) if _state(path) is not None]


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
    named = named_checkpoints(folder)
    found = next((path for path in reversed(named) if is_intact(path)), None)
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


def named_checkpoints(folder: Path) -> list[Path]:
    """What is called like a checkpoint and is a folder, oldest first."""
    found = [folder / name for name in names_in(folder) if NAME.fullmatch(name)]
    return sorted((path for path in found if path.is_dir()), key=step_of)


def read_state(path: Path) -> State:
    """The state.json of a complete checkpoint.

    Raises:
        InputError: if it is not one.
    """
    state = _state(path)
    if state is None:
        raise InputError(f"{path}: is no complete checkpoint; give another --run-dir")
    return state


def model_file(path: Path) -> Path:
    """The file of a complete checkpoint that has the trained model: averaged where it has that.

    Raises:
        InputError: if it is no complete checkpoint.
    """
    return path / (AVERAGE if AVERAGE in read_state(path)["files"] else MODEL)


def is_due(path: Path) -> bool:
    """Whether a checkpoint is one that its run's settings asked for, as all of earlier versions.

    Others are of runs that something has ended; with these and without, a run is the same.
    """
    return bool((_state(path) or {}).get("is_due", True))


def checkpoint_name(step: int) -> str:
    """What the folder of a checkpoint is called."""
    return f"checkpoint-{step:08d}"


def step_of(path: Path) -> int:
    """The step in a checkpoint's name."""
    return int(path.name.removeprefix("checkpoint-"))


def _state(path: Path) -> State | None:
    """The state.json of a folder that is a complete checkpoint; None for any other.

    Raises:
        InputError: if it may not be read.
    """
    try:
        if not _are_regular(path, *FILES, "state.json"):
            return None
        state: State = json.loads((path / "state.json").read_text())
        sizes = {name: size for name, (size, _) in state["files"].items()}
        is_complete = (
            all(type(state[name]) is kind for name, kind in KINDS.items())
            and path.name == checkpoint_name(state["step"])
            and sizes.keys() - {AVERAGE} == set(FILES)
            and _are_regular(path, *sizes)
            and sizes == {name: (path / name).stat().st_size for name in sizes}
        )
    except PermissionError as error:
        raise _forbidden(path, error) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return state if is_complete else None


def _are_regular(path: Path, *names: str) -> bool:
    return all(stat.S_ISREG((path / name).stat().st_mode) for name in names)


def is_intact(path: Path) -> bool:
    """Whether a folder is a complete checkpoint and its files have their checksums."""
    state = _state(path)
    if state is None:
        return False
    try:
        return all(checksum_of(path / name) == sum_ for name, (_, sum_) in state["files"].items())
    except PermissionError as error:
        raise _forbidden(path, error) from None
    except OSError:
        return False


def _forbidden(path: Path, error: PermissionError) -> InputError:
    return InputError(
        f"{path}: {error.strerror}; give yourself the right to read it, or give another --run-dir"
    )


def checksum_of(path: Path) -> int:
    """CRC-32 of a file."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum
