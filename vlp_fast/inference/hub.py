"""Hugging Face's hub: exported folders there and back, where huggingface-hub is installed."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from vlp_fast.errors import InputError
from vlp_fast.inference.description import CONFIG
from vlp_fast.weights.checkpoints import MODEL

PREFIX = "hf://"
FILES = (MODEL, CONFIG, "vocab.txt", "README.md")


def is_on_hub(name: str) -> bool:
    """Whether a name is of a repository on the hub: hf://organisation/model."""
    return name.startswith(PREFIX)


def check_hub(name: str) -> str:
    """The repository that a name means.

    Raises:
        InputError: if it is none, or huggingface-hub is not installed.
    """
    repository = name.removeprefix(PREFIX)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise InputError(f"{name}: is no repository; expected NAME/REPO")
    if find_spec("huggingface_hub") is None:
        raise InputError(f"{name}: huggingface-hub is not installed; `pip install 'vlp-fast[hub]'`")
    return repository


def fetch(name: str) -> Path:
    """The folder of a repository's files on this machine; they are fetched if they are not there.

    Raises:
        InputError: if they cannot be.
    """
    repository = check_hub(name)
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=list(FILES)))
    except Exception as error:  # of the network, of its library, of the hub: none is ours
        raise InputError(f"{name}: cannot be fetched ({_line(error)})") from None


def push(folder: Path, name: str) -> str:
    """Upload an exported folder; returns its address.

    Raises:
        InputError: if that fails.
    """
    repository = check_hub(name)
    import huggingface_hub

    try:
        huggingface_hub.create_repo(repository, exist_ok=True)
        huggingface_hub.upload_folder(
            repo_id=repository, folder_path=str(folder), allow_patterns=list(FILES)
        )
    except Exception as error:
        raise InputError(f"{name}: cannot be uploaded ({_line(error)})") from None
    return f"https://huggingface.co/{repository}"


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
