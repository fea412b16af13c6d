"""Where a trained model is, by what people call it (torch-free)."""

from __future__ import annotations

from pathlib import Path

from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError
from vlp_fast.inference.description import CONFIG
from vlp_fast.inference.hub import fetch, is_on_hub
from vlp_fast.inference.shipped import shipped_model, shipped_names


def model_folder(name: str | Path, revision: str | None = None) -> Path:
    """The folder of a trained model.

    Args:
        name: a run's folder or an exported one; "hf://organisation/model" on Hugging Face's hub,
            "hf://organisation/model@revision" for another state than the newest; or a model that
            comes with the package, where no folder is called so.
        revision: of the hub, if it is not in the name.

    Raises:
        InputError: if there is none of these, or a revision of what is not on the hub.
    """
    if is_on_hub(str(name)):
        return fetch(str(name), revision)
    if revision is not None:
        raise InputError(
            f"{printable(name)}: received revision {printable(revision)}, which only "
            "hf://organisation/model has"
        )
    folder = Path(name)
    if not folder.exists() and str(name) in shipped_names():
        return shipped_model(str(name))
    check_folder(folder)
    return folder


def check_folder(folder: Path) -> None:
    """Refuse a folder that is neither a run's nor an exported one.

    Raises:
        InputError: saying what is there, and what comes with the package.
    """
    if not (folder / "run.json").exists() and not (folder / CONFIG).is_file():
        found = "holds neither run.json nor config.json" if folder.is_dir() else "no such folder"
        raise InputError(
            f"{printable(folder)}: {found}; expected a run's folder, one that `vlp-fast export` "
            f"wrote, or a model that comes with the package ({', '.join(shipped_names())})"
        )
