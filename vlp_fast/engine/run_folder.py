"""The run folder: who ran what, with which versions, from which commit."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from vlp_fast import __version__
from vlp_fast.data.tokenizer import Tokenizer
from vlp_fast.engine.checkpoint import complete_checkpoints, write_json
from vlp_fast.engine.config import RunConfig
from vlp_fast.errors import InputError

PACKAGES = ("torch", "torchvision", "triton", "numpy", "scipy", "tokenizers", "safetensors")


def open_run_folder(run: RunConfig, tokenizer: Tokenizer) -> None:
    """Create the folder and write run.json (configuration, versions, commit) and vocab.txt.

    Raises:
        InputError: if the folder cannot be written, or holds another run that is not resumed.
    """
    folder = run.directory
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if run.resume == "never" and complete_checkpoints(folder):
            raise InputError(
                f"{folder}: holds checkpoints of an earlier run; give another --run-dir, delete "
                "it, or go on with --resume auto"
            )
        partial = folder / ".vocab.txt.partial"
        tokenizer.save(partial)
        partial.replace(folder / "vocab.txt")
        write_json(folder / "run.json", _description(run))
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); give another --run-dir"
        ) from None


def _description(run: RunConfig) -> dict[str, object]:
    return {
        "vlp_fast": __version__,
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "config": dataclasses.asdict(run),
    }


def _git(*arguments: str) -> str | None:
    folder = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
