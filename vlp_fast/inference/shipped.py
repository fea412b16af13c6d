"""Small trained models that come with the package, each an exported folder.

They know the small world's drawings (`vlp-fast data make-world --bounds small`), and were made by

    make shipped
"""

from __future__ import annotations

import difflib
from pathlib import Path

from vlp_fast.errors import InputError
from vlp_fast.inference.description import CONFIG

FOLDER = Path(__file__).parent / "models"


def shipped_names() -> list[str]:
    """Of the models, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{CONFIG}"))


def shipped_model(name: str) -> Path:
    """The folder of a model that comes with the package.

    Raises:
        InputError: if none has that name.
    """
    names = shipped_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"
        raise InputError(f"no trained model named {name!r} comes with the package; {hint}")
    return FOLDER / name
