"""All cases by operator, and one case from drawing its problem to its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path

import torch

from vlp_fast.errors import InputError

from . import ledger, record
from .case import Case, Cases, Setting
from .harness import measure
from .ledger import Row


def setting(device: str, *, is_quick: bool = False) -> Setting:
    """Where to measure; `auto` is the GPU if there is one.

    Raises:
        InputError: if there is no GPU and one is asked for.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise InputError("no CUDA device is visible; leave --device out to measure on the CPU")
    chosen = ("cuda" if has_gpu else "cpu") if device == "auto" else device
    return Setting(device=chosen, is_quick=is_quick)


def cases(operator: str, where: Setting) -> Cases:
    """The cases of an operator by name."""
    module = import_module(f"{__package__}.{operator}")
    found: Cases = module.cases(where)
    return found


def run(make: Callable[[], Case], where: Setting) -> list[Row]:
    """Draw a case, measure it and return its rows."""
    return record.rows(
        measure(make(), where), where.device, note=ledger.QUICK if where.is_quick else ""
    )


def destination(out: Path | None, where: Setting, operators: Iterable[str]) -> Path | None:
    """The folder of the ledger; `None` for a quick run, whose figures mean little, without one.

    Raises:
        InputError: if rows could not be kept there.
    """
    root = out if where.is_quick else out or ledger.results_folder()
    if root is not None:
        ledger.check_writable(root, record.environment(where.device)["device"], operators)
    return root
