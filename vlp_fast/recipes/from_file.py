"""Recipes of one's own: `path/to/file.py:function`, a function that returns a RunConfig."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from vlp_fast.data.given_paths import check_file
from vlp_fast.data.printable import printable
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.recorded_run import restore_run
from vlp_fast.errors import InputError


def recipe_from_file(reference: str) -> RunConfig:
    """The configuration that a function in a file returns.

    Args:
        reference: the file and the function, as in "counting.py:tiny".

    Raises:
        InputError: if there is no such file or function, or what it does is no recipe.
    """
    path, colon, name = reference.rpartition(":")
    if not colon:
        raise InputError(
            f"{printable(reference)}: expected a file and a function in it, as in {reference}:NAME"
        )
    module = load_file(Path(path))
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"{printable(path)}: has no function {name!r}; {_recipes_in(module)}")
    made = _called(function, path)
    if not isinstance(made, RunConfig):
        raise InputError(
            f"{printable(path)}: {name}() returns {type(made).__name__}, expected a RunConfig"
        )
    return replace(made, file=Path(path).absolute())


def load_file(path: Path) -> ModuleType:
    """Run a Python file and keep it as a module, once.

    Raises:
        InputError: if there is no such file, or it fails.
    """
    check_file(path, "a recipe of one's own", "a Python file and a function, as in FILE.py:NAME")
    place = blake2b(str(path.absolute()).encode(errors="surrogatepass"), digest_size=6).hexdigest()
    name = f"{path.stem}_{place}"  # two files of one name are two modules
    if name not in sys.modules:
        spec = spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise InputError(f"{printable(path)}: is no Python file (its name ends in .py)")
        module = sys.modules[name] = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, Exception | SystemExit):
                raise _failed(path, error) from error
            raise
    return sys.modules[name]


def restore_trained(folder: Path, file: Path | None) -> RunConfig:
    """The configuration of a run, also of a recipe of one's own.

    Args:
        folder: of the run.
        file: of its recipe, which is run; None where it is one of the package's.

    Raises:
        InputError: if there is no such file, or the folder holds no run of tasks that are known.
    """
    if file is not None:
        load_file(file)
    return restore_run(folder)


def _called(function: Callable[[], object], path: str) -> object:
    try:
        return function()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise _failed(Path(path), error) from error


def _failed(path: Path, error: BaseException) -> InputError:
    """One line that says where in the file it was."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).absolute() == path.absolute():
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f", line {line}" if line else ""
    return InputError(f"{printable(path)}{where}: {type(error).__name__}: {printable(error)}")


def _recipes_in(module: ModuleType) -> str:
    names = [n for n, x in vars(module).items() if getattr(x, "__module__", "") == module.__name__]
    functions = [
        n for n in names if not n.startswith("_") and not isinstance(vars(module)[n], type)
    ]
    return f"it has {', '.join(functions)}" if functions else "it has none"
