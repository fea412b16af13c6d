"""Hugging Face's hub: exported folders there and back, where huggingface-hub is installed.

Tokens, mirrors, the cache and work without a network are that library's: HF_TOKEN, HF_ENDPOINT,
HF_HUB_CACHE, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError
from vlp_fast.inference.description import CONFIG, PROGRAM
from vlp_fast.weights.checkpoints import MODEL

PREFIX = "hf://"
FILES = (MODEL, CONFIG, "vocab.txt", "README.md")
"""What is fetched; a program, which needs none of them, is for whoever runs it."""
NAME = re.compile(r"([\w.-]+/[\w.-]+?)(?:@([\w./%-]+))?")


@dataclass(frozen=True)
class Repository:
    """A repository on the hub.

    Attributes:
        name: organisation/model.
        revision: a branch, a tag or a commit; None for the newest of the main branch.
    """

    name: str
    revision: str | None = None


def is_on_hub(name: str) -> bool:
    """Whether a name is of a repository on the hub: hf://organisation/model."""
    return name.startswith(PREFIX)


def check_hub(name: str, revision: str | None = None) -> Repository:
    """The repository that a name means, with or without its prefix.

    Args:
        name: NAME/REPO, or NAME/REPO@REVISION.
        revision: if it is not in the name.

    Raises:
        InputError: if it is none, has two revisions, or huggingface-hub is not installed.
    """
    found = NAME.fullmatch(name.removeprefix(PREFIX))
    if not found:
        raise InputError(
            f"{printable(name)}: is no repository; expected NAME/REPO, or NAME/REPO@REVISION"
        )
    of_name = unquote(found[2]) if found[2] else None
    if revision is not None and of_name not in (None, revision):
        raise InputError(f"{printable(name)}: is another revision than {printable(revision)}")
    if find_spec("huggingface_hub") is None:
        raise InputError(f"{name}: huggingface-hub is not installed; `pip install 'vlp-fast[hub]'`")
    return Repository(found[1], of_name or revision)


def fetch(name: str, revision: str | None = None) -> Path:
    """The folder of a repository's files on this machine; they are fetched if they are not there.

    Args:
        name, revision: as of `check_hub`.

    Raises:
        InputError: if they cannot be, or are of no model of this package.
    """
    repository = check_hub(name, revision)
    import huggingface_hub

    try:
        path = huggingface_hub.snapshot_download(
            repository.name, revision=repository.revision, allow_patterns=list(FILES)
        )
    except Exception as error:  # of the network, of its library, of the hub: none is ours
        raise InputError(f"{printable(name)}: cannot be fetched ({_line(error)})") from None
    if not (Path(path) / CONFIG).is_file():
        raise InputError(
            f"{printable(name)}: has no {CONFIG}; expected what `vlp-fast export` wrote"
        )
    return Path(path)


def check_push(name: str) -> Repository:
    """The repository that an upload goes to, on its main branch.

    Raises:
        InputError: as of `check_hub`, or if the name has a revision.
    """
    repository = check_hub(name)
    if repository.revision:
        raise InputError(
            f"{printable(name)}: uploads go to the main branch; leave @{repository.revision} out, "
            "and tag what was uploaded"
        )
    return repository


def push(folder: Path, name: str, *, private: bool = False) -> str:
    """Upload an exported folder, with its program if there is one; returns its address.

    Args:
        folder: to upload.
        name: of the repository, which is made if it is not there.
        private: whether nobody else may see it. A repository that is there stays what it is, so
            nothing is uploaded to one that is public.

    Raises:
        InputError: if that fails.
    """
    repository = check_push(name).name
    import huggingface_hub

    try:
        huggingface_hub.create_repo(repository, private=private, exist_ok=True)
        is_public = private and not huggingface_hub.repo_info(repository).private
        if not is_public:
            huggingface_hub.upload_folder(
                repo_id=repository, folder_path=str(folder), allow_patterns=[*FILES, PROGRAM]
            )
    except Exception as error:
        again = f"`hf upload {repository} {printable(folder)}` tries again"
        raise InputError(
            f"{printable(name)}: cannot be uploaded ({_line(error)}); the folder is whole, {again}"
        ) from None
    if is_public:
        raise InputError(
            f"{printable(name)}: is there already and public, and --private was asked; nothing was "
            "uploaded: make it private on the hub, or give another name"
        )
    return f"https://huggingface.co/{repository}"


def _line(error: Exception) -> str:
    """What the library says in several lines, the reason after the number, in one."""
    return printable(" ".join(str(error).split())[:240] or type(error).__name__)
