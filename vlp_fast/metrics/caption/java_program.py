"""METEOR and SPICE are Java programs that the user has: where they are, and what they say."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from vlp_fast.errors import InputError

PACKAGE = "pycocoevalcap"
_LONGEST = 300


def find_java(java: str, what: str) -> str:
    """Return the path of the Java executable.

    Args:
        java: its name, looked for on the PATH, or its path.
        what: the metric, for the message.

    Raises:
        InputError: if there is none.
    """
    found = shutil.which(java)
    if found is None:
        raise InputError(
            f"{what} is a Java program and {java} is not there; install a Java runtime (version 8 "
            f"or newer), or leave {what} out"
        )
    return found


def find_jars(folder: Path | None, what: str, *names: str) -> Path:
    """Return the folder of the official evaluation, which holds the files of a metric.

    Args:
        folder: where the user has it; None for that of the installed package.
        what: the metric, for the message.
        names: of the files, relative to the folder.

    Raises:
        InputError: if the folder or a file is not there, with what to install.
    """
    installed = find_spec(PACKAGE) if folder is None else None
    places = [folder] if folder else []
    if installed is not None:
        places = [Path(place) for place in installed.submodule_search_locations or ()]
    for place in places:
        missing = [name for name in names if not (place / name).is_file()]
        if missing:
            raise InputError(
                f"{place}: has no {missing[0]}, which {what} needs; give the folder of "
                f"{PACKAGE}, which holds it, or leave {what} out"
            )
        return place
    raise InputError(
        f"{what} is a Java program that comes with {PACKAGE}, which is not installed; run `pip "
        f"install {PACKAGE}`, give the folder that holds {names[0]}, or leave {what} out"
    )


def failed(what: str, errors: bytes) -> InputError:
    """What is told where Java ended without an answer, with the line of it that tells most."""
    lines = [line.strip() for line in errors.decode(errors="replace").splitlines()]
    lines = [line for line in lines if line] or ["it said nothing"]
    said = next((line for line in lines if "Error" in line or "Exception" in line), lines[-1])
    return InputError(
        f"{what}: Java ended without an answer ({said[:_LONGEST]}); repair it, or leave {what} out"
    )
