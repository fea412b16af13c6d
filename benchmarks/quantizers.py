"""Who is compared with the dictionary: peers of the search and of the whole step, by name."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from . import codebook_steps, nearest
from .case import Provider, Setting
from .nearest import FINE, ROUGH, Assign
from .peers import FLASH_ASSIGN, FLASH_UPDATE, VECTOR_QUANTIZE, Peer

NEEDS_GPU = "left out on a CPU, where it does not run"
COMPILED = "half mm + argmax, compiled"
COMPILING = "left out of a quick run, because compiling takes long"


def assigners(setting: Setting, dtype: torch.dtype) -> dict[str, tuple[Assign | str, float | None]]:
    """Peers of the search with their tolerance, or why they are left out."""
    found: dict[str, tuple[Assign | str, float | None]] = {
        "cdist + argmin": (nearest.by_cdist, FINE),
        "addmm + argmax, chunked": (nearest.by_products, FINE),
    }
    if setting.device != "cuda":
        return {**found, FLASH_ASSIGN.distribution: (_absence(FLASH_ASSIGN, NEEDS_GPU), None)}
    if dtype == torch.float32:
        found["addmm + argmax, chunked, TF32"] = (_rounded(nearest.by_products), ROUGH)
    found["half mm + argmax, chunked"] = (nearest.by_half_products, ROUGH)
    compiled = COMPILING if setting.is_quick else nearest.by_compiled_half_products()
    found[COMPILED] = (compiled, ROUGH)
    flash = FLASH_ASSIGN.load()
    by_flash = nearest.by_flash_kmeans(flash) if flash else FLASH_ASSIGN.absence
    return {**found, FLASH_ASSIGN.distribution: (by_flash, ROUGH)}


def steppers(setting: Setting, x: Tensor, codes: Tensor) -> dict[str, Provider | str]:
    """Peers of the whole step, or why they are left out."""
    steps, found = codebook_steps, dict[str, Provider | str]()
    for sums_name, sums in (
        ("index_add", steps.sums_by_index_add),
        ("sorted sums", steps.sums_by_sorting),
    ):
        for name, (assign, tolerance) in assigners(setting, x.dtype).items():
            if isinstance(assign, str) or name == FLASH_ASSIGN.distribution:
                continue
            if sums_name == "sorted sums" and name != "addmm + argmax, chunked":
                continue
            summed = torch.compile(sums, dynamic=True) if name == COMPILED else sums
            run = steps.composed(assign, summed, x, codes)
            found[f"{name.replace(', chunked', '')}, {sums_name}"] = Provider(
                run=run, tolerance=tolerance
            )
    found[FLASH_ASSIGN.distribution] = _flash_step(setting, x, codes)
    package, name = VECTOR_QUANTIZE.load(), VECTOR_QUANTIZE.distribution
    if package is None:
        found[name] = VECTOR_QUANTIZE.absence
        return found
    found[name] = Provider(run=steps.by_package(package, x, codes), tolerance=FINE)
    if setting.device == "cuda":
        run = nearest.in_tf32(steps.by_package(package, x, codes))
        found[f"{name}, TF32"] = Provider(run=run, tolerance=ROUGH)
    return found


def _flash_step(setting: Setting, x: Tensor, codes: Tensor) -> Provider | str:
    assign, update = FLASH_ASSIGN.load(), FLASH_UPDATE.load()
    if setting.device != "cuda" or assign is None or update is None:
        return _absence(FLASH_ASSIGN, NEEDS_GPU)
    sums = codebook_steps.sums_by_flash_kmeans(update)
    run = codebook_steps.composed(nearest.by_flash_kmeans(assign), sums, x, codes)
    return Provider(run=run, tolerance=ROUGH)


def _absence(peer: Peer, otherwise: str) -> str:
    return otherwise if peer.load() else peer.absence


def _rounded(assign: Assign) -> Assign:
    return lambda x, codes: nearest.in_tf32(partial(assign, x, codes))()
