"""From a run folder back to its configuration (torch-free)."""

from __future__ import annotations

import dataclasses
import json
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vlp_fast.data.printable import printable
from vlp_fast.engine.config import RunConfig
from vlp_fast.errors import InputError
from vlp_fast.models.config import ModelConfig
from vlp_fast.tasks.config import TaskConfig

BASES: dict[str, type[Any]] = {"model": ModelConfig, "task": TaskConfig}
"""Sections of a run whose kind run.json names: a class below one of these."""
PLAIN: dict[Any, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str,),
    Path: (str,),
}
"""What json has where a field is one of these."""
OURS = "vlp_fast."
"""Begins the modules whose classes come with the package."""


class UnknownKind(KeyError):
    """A class of a file of somebody's own, which is not imported."""


def check_not_begun(run: RunConfig) -> None:
    """Refuse a folder with checkpoints for a run that is to start anew.

    Raises:
        InputError: if there are any.
    """
    if run.resume != "never":
        return
    from vlp_fast.weights.checkpoints import complete_checkpoints  # which imports NumPy

    if complete_checkpoints(run.directory):
        raise InputError(
            f"{run.directory}: holds checkpoints of an earlier run; give another --run-dir, delete "
            "it, or go on with --resume auto"
        )


def restore_run(folder: Path) -> RunConfig:
    """The configuration that the folder's run.json records, of the tasks that are imported.

    A run of a recipe of one's own may name the file of its task. The folder may be a stranger's,
    so no file is run for its sake: whoever trusts it imports it before.

    Raises:
        InputError: if the folder holds no run, one of a version with other fields, or of a file
            that is not imported.
    """
    path = folder / "run.json"
    recorded = _read(folder)
    try:
        parts = restore_parts(recorded["kinds"], recorded["config"])
        values = {**recorded["config"], "run_dir": str(folder)}
        hints = get_type_hints(RunConfig)
        rest = {n: rebuilt(hints[n], value) for n, value in values.items() if n not in parts}
        return RunConfig(**rest, **parts)
    except UnknownKind as error:
        raise InputError(
            f"{printable(path)}: {not_imported(error, recorded['config'].get('file'))}"
        ) from None
    except KeyError as error:
        raise InputError(
            f"{path}: was written by another version, or by tasks that are not here (missing or "
            f"unknown: {printable(error)}); use that version, or train anew"
        ) from None
    except (TypeError, ValueError, LookupError) as error:
        raise InputError(
            f"{path}: was written by another version ({printable(error)}); use that version, or "
            "train anew"
        ) from None


def not_imported(error: UnknownKind, file: object = None) -> str:
    """What is to be done about a class that is not imported, in one line.

    Args:
        error: naming the class.
        file: that a run was trained by, if it says so.
    """
    kind = printable(error.args[0])
    if isinstance(file, str):
        return (
            f"its {kind} is of {printable(file)}, and a file that a folder names is not run; if "
            f"you trust it, give it as --recipe-file (recipe_file= in Python)"
        )
    return (
        f"{kind} is of a recipe of somebody's own; if you trust its file, give it as --recipe-file "
        "(recipe_file= in Python)"
    )


def restore_parts(kinds: dict[str, str], values: dict[str, Any]) -> dict[str, Any]:
    """The sections of a run whose kind is recorded, from what json kept of them.

    Args:
        kinds: of each section in `BASES`, the class, as `kind_names` has it.
        values: of each section, its fields.

    Raises:
        LookupError, TypeError, ValueError: if a kind is not imported, or has other fields.
    """
    chosen = {name: _kind(base, kinds[name]) for name, base in BASES.items()}
    return {name: rebuilt(kind, values[name]) for name, kind in chosen.items()}


def rebuilt(kind: Any, value: Any) -> Any:
    """Json values as the dataclasses, tuples and paths that they were.

    Args:
        kind: a type, as a field of a dataclass has it.
        value: from json.

    Raises:
        LookupError, TypeError, ValueError: if the value is of another kind.
    """
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise TypeError(f"{kind.__name__} is {type(value).__name__}, expected an object")  # type: ignore[union-attr]
        hints = get_type_hints(kind)
        return kind(**{name: rebuilt(hints[name], inner) for name, inner in value.items()})  # type: ignore[operator]
    options = get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):
        if value is None:
            return None
        fitting = [o for o in options if o is not type(None) and _fits(o, value)]
        return rebuilt(fitting[0], value)
    if get_origin(kind) is tuple:
        values = value if isinstance(value, list) else [value]  # of a version that had but one
        return tuple(rebuilt(options[0], inner) for inner in values)
    if get_origin(kind) is Literal and value not in options:
        raise ValueError(f"{value!r:.60} is none of {', '.join(map(repr, options))}")
    if kind in PLAIN and (type(value) not in PLAIN[kind]):
        raise TypeError(f"received {value!r:.60}, expected {kind.__name__}")
    return Path(value) if kind is Path else value


def check_same_recipe(run: RunConfig) -> None:
    """Refuse to go on with the run of another recipe; one that cannot be read is not compared.

    Args:
        run: what is asked for, with a folder in which a run has begun.

    Raises:
        InputError: naming both recipes.
    """
    try:
        recorded = _read(run.directory)
    except InputError:
        return
    then, now = recorded["config"]["name"], run.name
    if then == now and isinstance(recorded.get("kinds"), dict):  # one's own may keep the name
        then, now = (f"{now} ({_bare(kinds)})" for kinds in (recorded["kinds"], kind_names(run)))
    if then != now:
        raise InputError(
            f"{printable(run.directory)}: holds a run of recipe {printable(then)}, and asked is "
            f"{printable(now)}; give another --run-dir, or the recipe that it began with"
        )


def kind_names(run: object) -> dict[str, str]:
    """What run.json says of the kinds of a run's sections: their classes, with their modules."""
    return {name: _full_name(type(getattr(run, name))) for name in BASES}


def _kind(base: type[Any], name: str) -> type[Any]:
    """The class of that name below a base.

    Of earlier versions, or where a class has moved, its bare name is enough if it is but one's.
    One's own never stands for one of the package that is called the same, nor that for it.

    Raises:
        UnknownKind: if it is one's own and not imported.
        LookupError, TypeError: if there is none or several may be meant, or it is no name.
    """
    if not isinstance(name, str):
        raise TypeError(f"a kind is {type(name).__name__}, expected the name of a class")
    below = [base]
    for kind in below:
        below += kind.__subclasses__()
    kinds = {_full_name(kind): kind for kind in below[1:]}
    if name in kinds:
        return kinds[name]
    module, _, bare = name.rpartition(".")
    alike = [full for full in kinds if full.rpartition(".")[2] == bare]
    if module:
        alike = [full for full in alike if full.startswith(OURS) == name.startswith(OURS)]
    if len(alike) > 1:
        raise LookupError(f"{name} may be {' or '.join(alike)}")
    if not alike:
        raise KeyError(name) if not module or name.startswith(OURS) else UnknownKind(name)
    return kinds[alike[0]]


def _bare(kinds: dict[str, Any]) -> str:
    return ", ".join(str(kinds.get(name)).rpartition(".")[2] for name in BASES)


def _full_name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        values["config"]["name"]
    except OSError as error:
        raise InputError(
            f"{folder}: no readable run.json ({error.strerror}); expected a run folder"
        ) from None
    except (ValueError, LookupError, TypeError, RecursionError):
        raise InputError(f"{folder}: no readable run.json; expected a run folder") from None
    return values


def _fits(kind: Any, value: Any) -> bool:
    return isinstance(value, list) == (get_origin(kind) is tuple)
