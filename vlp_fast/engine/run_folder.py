"""The run folder: who ran what, with which versions, from which commit."""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from vlp_fast import __version__
from vlp_fast.data.tokenizer import Tokenizer
from vlp_fast.engine.checkpoint import complete_checkpoints
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.recorded_run import check_not_begun, check_same_recipe, kind_names
from vlp_fast.errors import InputError
from vlp_fast.whole_file import write_json, write_whole

MAY_CHANGE = {
    *("log_every", "evaluate_every", "checkpoint_every", "keep_checkpoints", "held_out_images"),
    *("picture", "device", "precision", "num_workers", "decoder", "cache", "epochs"),
    *("max_replaced", "processes", "reduction", "watchdog_minutes", "profile", "tensorboard"),
    *("keep_best", "ema", "recompute", "rollbacks", "compile"),
    *("root", "exclude", "vocabulary", "objects_vocabulary", "attributes_vocabulary", "answers"),
}
"""Settings that a resumed run may have other values of: they do not decide what is learnt.

The last six are paths, which may change; what lies there may not. The vocabulary is compared with
the folder's vocab.txt where it is read, everything else by `check_same_data`.
"""

PACKAGES = ("torch", "torchvision", "triton", "numpy", "scipy", "tokenizers", "safetensors")
PACKAGE = Path(__file__).resolve().parents[1]


def open_run_folder(run: RunConfig, tokenizer: Tokenizer) -> None:
    """Create the folder and write run.json (configuration, versions, commit) and vocab.txt.

    Raises:
        InputError: if the folder cannot be written, or holds another run that is not resumed.
    """
    folder = run.directory
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_not_begun(run)
        write_whole(folder / "vocab.txt", tokenizer.save)
        write_json(folder / "run.json", _description(run))
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); give another --run-dir"
        ) from None


def check_same_run(run: RunConfig, say: Callable[[str], object]) -> None:
    """Refuse to go on with other settings than the folder's run began with.

    How long it runs and how often it writes may change; the model is compared with the checkpoint.

    Args:
        run: what is asked for.
        say: gets a line where first weights are given that the run did not begin from.

    Raises:
        InputError: if it is another recipe's, naming the first setting that differs, or why
            run.json cannot be read.
    """
    path = run.directory / "run.json"
    if run.resume == "never" or not complete_checkpoints(run.directory):
        return
    try:
        before = json.loads(path.read_text())["config"]
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}, and the run's settings cannot be compared; make it "
            "readable or give another --run-dir"
        ) from None
    if not isinstance(before, dict) or "name" not in before:
        return
    check_same_recipe(run)
    now = _settings(run)
    _tell_other_weights(run, before.get("init", now["init"]), now["init"], say)
    for section in ("data", "task", "optim", "train"):
        old = before.get(section)
        if not isinstance(old, dict):
            continue
        for name, value in now[section].items():
            if name not in old or name in MAY_CHANGE:
                continue
            if old[name] != value:
                raise InputError(
                    f"{run.directory}: its run has {section}.{name} {old[name]}, asked is {value}; "
                    "give the same or another --run-dir"
                )


def _tell_other_weights(
    run: RunConfig, then: object, now: list[str], say: Callable[[str], object]
) -> None:
    given = then if isinstance(then, list) else [then] if then else []  # of older versions
    if now and now != given:
        began = ", ".join(map(str, given)) or "random weights"
        say(
            f"init: {', '.join(now)} is not read: {run.directory} goes on with a run that began "
            f"from {began}; to start from other weights, give another --run-dir"
        )


def _description(run: RunConfig) -> dict[str, object]:
    return {
        "vlp_fast": __version__,
        **_checkout(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "kinds": kind_names(run),
        "config": _settings(run),
    }


def _settings(run: RunConfig) -> dict[str, Any]:
    """The configuration as run.json has it: its paths hold from every folder."""
    settings: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(run), default=_absolute))
    return settings


def _absolute(path: Path) -> str:
    return str(path.absolute())


def _checkout() -> dict[str, object]:
    """Commit and changes where the package is its own checkout; None where it is installed."""
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != PACKAGE.parent:
        return {"commit": None, "uncommitted_changes": None}  # of whatever is around the package
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": _git("rev-parse", "HEAD"), "uncommitted_changes": bool(changes)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
