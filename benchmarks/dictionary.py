"""The visual dictionary beside what one would write in PyTorch, and beside packages.

Names of cases: `assign` is the search for the nearest code, `step` a forward of the layer in
training, which moves its codes. `N` rows of width `D` against `K` codes: a step of the small
recipes, and SOHO's 2048 codes of width 768. `varied` is a run over 100 different N, as training has
them. Its times are for one of them.

Rows lie in clusters around centres, and codes near the centres, as after a while of training: all
codes stay in use over the many steps of a measurement. Of independent rows and codes one code soon
takes nearly all rows, and a step is another one then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import call
from typing import Any

import torch
from torch import Tensor

import vlp_fast
from vlp_fast import ops

from . import codebook_steps as steps
from . import nearest
from .case import OURS, Case, Provider, Setting, ours
from .nearest import EXACT, FINE, ROUGH, Assign, Rows
from .peers import FLASH_ASSIGN, FLASH_UPDATE, VECTOR_QUANTIZE

Shape = tuple[int, int, int]
"""Rows, codes, width."""
Search = tuple[Assign, float, str]
"""A way, its tolerance, and why it is left out."""
Run = Callable[[Any], Any]

WIDTH, CODES = 768, 2048
SMALL: Shape = (4096, 512, 128)
CPU_SHAPES: Sequence[Shape] = (
    SMALL,
    *((rows, CODES, WIDTH) for rows in (4096, 16384, 1024)),
    *((4096, codes, WIDTH) for codes in (512, 8192)),
)
GPU_ROWS, GPU_CODES = (65536, 400_000, 5000), (512, 8192)
"""The most telling first."""
BFLOAT16_SHAPES: Sequence[Shape] = (
    *((rows, CODES, WIDTH) for rows in GPU_ROWS),
    *((GPU_ROWS[0], codes, WIDTH) for codes in GPU_CODES),
)
GPU_SHAPES: dict[torch.dtype, Sequence[Shape]] = {
    torch.bfloat16: BFLOAT16_SHAPES,
    torch.float32: BFLOAT16_SHAPES[: len(GPU_ROWS)],
    torch.float16: BFLOAT16_SHAPES[:1],
}
VARIED = 100
VARIED_ROWS = {"cpu": (500, 1500), "cuda": (3000, 8000)}
ROW_NOISE, CODE_NOISE = 0.5, 0.05
"""Deviation of rows and of codes from their centres, whose own is 1."""
STEP_TOLERANCE = 1e-5
"""Of codes after a step, relative: sums and averages are float32."""
COMPILED, CHUNKED = "half mm + argmax, compiled", ", chunked"
RECOMPILES = "left out: it compiles anew for each N"


def cases(setting: Setting) -> list[Case]:
    """The cases of the dictionary, search and step of a shape in turns."""
    found: list[Case] = []
    shapes_of = GPU_SHAPES if setting.device == "cuda" else {torch.float32: CPU_SHAPES}
    for place, (dtype, shapes) in enumerate(shapes_of.items()):
        sizes = [(128, 512, shape[2]) if setting.is_quick else shape for shape in shapes]
        for shape in dict.fromkeys(sizes):
            words = {torch.bfloat16: "bf16-", torch.float16: "fp16-"}.get(dtype, "")
            name = "{}N{}-K{}-D{}".format(words, *shape)
            problem = partial(draw, setting, dtype, shape)
            found.append(_assign(setting, f"assign-{name}", dtype, [problem]))
            found.append(_step(setting, f"step-{name}", dtype, problem))
        if place == 0:  # of one dtype
            found.append(_varied(setting, dtype))
    return found


def draw(setting: Setting, dtype: torch.dtype, shape: Shape) -> Rows:
    """Rows around centres, each as likely as another, and a code near each centre."""
    rows, num_codes, width = shape
    generator = setting.generator()
    normal = partial(torch.randn, generator=generator, device=setting.device)
    centres = normal(num_codes, width)
    chosen = torch.randint(num_codes, (rows,), generator=generator, device=setting.device)
    x = normal(rows, width).mul_(ROW_NOISE).add_(centres[chosen])
    return Rows(x.to(dtype), centres + CODE_NOISE * normal(num_codes, width))


def _varied(setting: Setting, dtype: torch.dtype) -> Case:
    """Another N in each call."""
    low, high = (100, 200) if setting.is_quick else VARIED_ROWS[setting.device]
    generator = torch.Generator().manual_seed(0)
    number = 5 if setting.is_quick else VARIED
    sizes = low + torch.randperm(high - low, generator=generator)[:number]
    rest = (CODES, WIDTH) if setting.device == "cuda" else SMALL[1:]
    draws = [partial(draw, setting, dtype, (size, *rest)) for size in sizes.tolist()]
    return _assign(setting, f"assign-varied-{VARIED}x", dtype, draws)


def _assign(
    setting: Setting, name: str, dtype: torch.dtype, draws: Sequence[Callable[[], Rows]]
) -> Case:
    """The search for one number of rows, or for one after the other."""
    providers = ours(lambda r: ops.nearest_code(r.x, r.codes), ["nearest_code"], setting.device)
    searches = {name: _search(*way) for name, way in _searches(setting, dtype).items()}
    flash = FLASH_ASSIGN.provide(lambda f: _search(nearest.by_flash_kmeans(f), ROUGH))
    flash = flash.unless(setting.needs_gpu or RECOMPILES * (len(draws) > 1))
    return Case(
        name=name,
        draws=draws,
        providers={**providers, **searches, FLASH_ASSIGN.distribution: flash},
        error=Rows.excess,
        wrong=Rows.wrong,
        tolerance=EXACT,
        num_bytes=lambda rows: rows.x.nbytes + rows.codes.nbytes + 8 * len(rows.x),
        flops=lambda rows: 2 * len(rows.x) * rows.codes.numel(),
        **_precision(dtype),
    )


def _search(assign: Assign, tolerance: float, unless: str = "") -> Provider:
    find = lambda rows: assign(rows.x, rows.codes)
    return Provider(find, tolerance=tolerance).unless(unless)


def _searches(setting: Setting, dtype: torch.dtype) -> dict[str, Search]:
    """PyTorch's, by name."""
    found: dict[str, Search] = {
        "cdist + argmin": (nearest.by_cdist, FINE, ""),
        f"addmm + argmax{CHUNKED}": (nearest.by_products, FINE, ""),
    }
    if setting.device != "cuda":
        return found
    if dtype == torch.float32:
        tf32 = nearest.in_tf32(nearest.by_products)
        found[f"addmm + argmax{CHUNKED}, TF32"] = (tf32, ROUGH, "")
    found[f"half mm + argmax{CHUNKED}"] = (nearest.by_half_products, ROUGH, "")
    found[COMPILED] = (nearest.by_compiled_half_products, ROUGH, setting.needs_time)
    return found


def _step(setting: Setting, name: str, dtype: torch.dtype, problem: Callable[[], Rows]) -> Case:
    used = ["nearest_code", "gather_codes", "code_statistics", "ema_update"]
    providers = ours(call, used, setting.device, prepare=steps.by_dictionary)
    mine = partial(Provider, call, backend=providers[OURS].backend)
    if setting.device == "cuda":
        atomic = partial(steps.by_dictionary, deterministic=False)
        providers[f"{OURS} atomic sums"] = mine(prepare=atomic)
    layer = partial(steps.by_layer, vlp_fast.VectorQuantize)
    providers[f"{OURS} VectorQuantize"] = mine(prepare=layer)
    return Case(
        name=name,
        draws=[problem],
        providers={**providers, **_composed(setting, dtype), **_packages(setting)},
        error=steps.error,
        wrong=lambda rows, solution: rows.wrong(solution.indices),
        tolerance=STEP_TOLERANCE,
        num_bytes=lambda r: 2 * r.x.nbytes + 8 * len(r.x) + 4 * r.codes.nbytes,
        flops=lambda rows: 2 * len(rows.x) * rows.codes.numel() + rows.x.numel(),
        **_precision(dtype),
    )


def _precision(dtype: torch.dtype) -> dict[str, Any]:
    arithmetic = torch.float16 if dtype == torch.float32 else None
    return {"operator": "dictionary", "dtype": dtype, "arithmetic": arithmetic}


def _composed(setting: Setting, dtype: torch.dtype) -> dict[str, Provider]:
    """Steps of PyTorch's searches and sums."""
    found: dict[str, Provider] = {}
    for name, (assign, tolerance, unless) in _searches(setting, dtype).items():
        is_compiled = name == COMPILED
        sums = steps.sums_by_compiled_index_add if is_compiled else steps.sums_by_index_add
        step = _parts(assign, sums, tolerance).unless(unless)
        found[f"{name.replace(CHUNKED, '')}, index_add"] = step
    by_sorting = _parts(nearest.by_products, steps.sums_by_sorting, FINE)
    return {**found, "addmm + argmax, sorted sums": by_sorting}


def _parts(assign: Assign, sums: steps.Sums, tolerance: float) -> Provider:
    return Provider(call, partial(steps.composed, assign, sums), tolerance=tolerance)


def _packages(setting: Setting) -> dict[str, Provider]:
    def by_flash(assign: Callable[..., Tensor]) -> Provider:
        update = FLASH_UPDATE.load()
        assert update is not None  # of the same package
        sums = steps.sums_by_flash_kmeans(update)
        return _parts(nearest.by_flash_kmeans(assign), sums, ROUGH)

    def by_package(layer: Callable[..., Any], run: Run = call, tolerance: float = FINE) -> Provider:
        return Provider(run, partial(steps.by_layer, layer), tolerance=tolerance)

    name, in_tf32 = VECTOR_QUANTIZE.distribution, nearest.in_tf32(call)
    found = {
        FLASH_ASSIGN.distribution: FLASH_ASSIGN.provide(by_flash).unless(setting.needs_gpu),
        name: VECTOR_QUANTIZE.provide(by_package),
    }
    if setting.device == "cuda":
        rough = partial(by_package, run=in_tf32, tolerance=ROUGH)
        found[f"{name}, TF32"] = VECTOR_QUANTIZE.provide(rough)
    return found
