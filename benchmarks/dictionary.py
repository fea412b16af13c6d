"""The visual dictionary beside what one would write in PyTorch, and beside packages.

Names of cases: `assign` is the search for the nearest code, `step` all that a training step does
with the codebook. `N` rows of width `D` against `K` codes: a step of the small recipes, and SOHO's
2048 codes of width 768. `varied` is a run over 100, or 8, different N, as training has them. Its
times are for one of them.

Rows lie in clusters around centres, and codes near the centres, as after a while of training: all
codes stay in use over the many steps of a measurement. Of independent rows and codes one code soon
takes nearly all rows, and a step is another one then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import starmap

import torch
from torch import Tensor

from vlp_fast import ops

from . import codebook_steps
from .case import OURS, Case, Cases, Provider, Setting, ours
from .nearest import EXACT, Assign, Truth
from .peers import FLASH_ASSIGN
from .quantizers import assigners, steppers

Shape = tuple[int, int, int]
"""Rows, codes, width."""

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
VARIED, FEW_VARIED = 100, 8
VARIED_ROWS = {"cpu": (500, 1500), "cuda": (3000, 8000)}
ROW_NOISE, CODE_NOISE = 0.5, 0.05
"""Deviation of rows and of codes from their centres, whose own is 1."""
STEP_TOLERANCE = 1e-5
"""Of codes after a step, relative: sums and averages are float32."""
RECOMPILES = f"left out: it compiles anew for each N, see the case of {FEW_VARIED}"


def cases(setting: Setting) -> Cases:
    """The cases of the dictionary by name, search and step of a shape in turns."""
    found: dict[str, Callable[[], Case]] = {}
    for dtype, shapes in _shapes(setting.device).items():
        for shape in shapes:
            drawn = (128, 512, shape[2]) if setting.is_quick else shape
            for kind, make in (("assign", _assign), ("step", _step)):
                name = f"{kind}-{_name(dtype, drawn)}"
                found[name] = partial(make, setting, name, dtype, drawn)
        for number in (VARIED, FEW_VARIED):  # of one dtype, after the first one
            name = f"assign-varied-{number}x"
            found.setdefault(name, partial(_varied, setting, name, number))
    return found


def _shapes(device: str) -> dict[torch.dtype, Sequence[Shape]]:
    return GPU_SHAPES if device == "cuda" else {torch.float32: CPU_SHAPES}


def _name(dtype: torch.dtype, shape: Shape) -> str:
    words = {torch.bfloat16: "bf16-", torch.float16: "fp16-"}.get(dtype, "")
    rows, codes, width = shape
    return f"{words}N{rows}-K{codes}-D{width}"


def _assign(setting: Setting, name: str, dtype: torch.dtype, shape: Shape) -> Case:
    x, codes = _draw(setting, dtype, shape)
    truth = Truth(x, codes)
    providers = ours(lambda: ops.nearest_code(x, codes), ["nearest_code"], setting.device)
    prepared = ops.prepare_codes(codes, x.dtype)
    providers[f"{OURS} codes prepared"] = Provider(
        run=lambda: ops.nearest_code(x, codes, prepared=prepared), backend=providers[OURS].backend
    )
    absent = {}
    for peer, (assign, tolerance) in assigners(setting, dtype).items():
        if isinstance(assign, str):
            absent[peer] = assign
        else:
            providers[peer] = Provider(run=partial(assign, x, codes), tolerance=tolerance)
    return Case(
        operator="dictionary",
        name=name,
        providers=providers,
        absent=absent,
        error=truth.excess,
        wrong=truth.wrong,
        tolerance=EXACT,
        dtype=_dtype_name(dtype),
        arithmetic="float16" if dtype == torch.float32 else "",
        num_bytes=x.nbytes + codes.nbytes + 8 * len(x),
        flops=2 * len(x) * codes.numel(),
    )


def _step(setting: Setting, name: str, dtype: torch.dtype, shape: Shape) -> Case:
    x, codes = _draw(setting, dtype, shape)
    truth = Truth(x, codes)
    used = ["nearest_code", "gather_codes", "code_statistics", "laplace_ema_update"]
    providers = {  # each with a codebook of its own, which its runs move on
        name: ours(codebook_steps.by_ours(x, codes), used, setting.device)[name]
        for name in ours(lambda: None, used, setting.device)
    }
    backend = providers[OURS].backend
    if setting.device == "cuda":
        run = codebook_steps.by_ours(x, codes, deterministic=False)
        providers[f"{OURS} atomic sums"] = Provider(run=run, backend=backend)
    run = codebook_steps.by_our_layer(x, codes)
    providers[f"{OURS} VectorQuantize"] = Provider(run=run, backend=backend)
    absent = {}
    for peer, found in steppers(setting, x, codes).items():
        if isinstance(found, str):
            absent[peer] = found
        else:
            providers[peer] = found
    return Case(
        operator="dictionary",
        name=name,
        providers=providers,
        absent=absent,
        error=partial(codebook_steps.error, truth),
        wrong=lambda solution: truth.wrong(solution[0]),
        tolerance=STEP_TOLERANCE,
        dtype=_dtype_name(dtype),
        arithmetic="float16" if dtype == torch.float32 else "",
        num_bytes=2 * x.nbytes + 8 * len(x) + 4 * codes.nbytes,
        flops=2 * len(x) * codes.numel() + x.numel(),
    )


def _varied(setting: Setting, name: str, number: int) -> Case:
    """Another N in each call."""
    is_gpu = setting.device == "cuda"
    dtype = torch.bfloat16 if is_gpu else torch.float32
    low, high = (100, 200) if setting.is_quick else VARIED_ROWS[setting.device]
    shape = (high, CODES, WIDTH) if is_gpu else (high, *SMALL[1:])
    x, codes = _draw(setting, dtype, shape)
    generator = torch.Generator().manual_seed(0)
    sizes = (
        low + torch.randperm(high - low, generator=generator)[: 5 if setting.is_quick else number]
    ).tolist()
    parts = [x[:size] for size in sizes]
    truths = [Truth(part, codes) for part in parts]

    def each(assign: Assign) -> Callable[[], list[Tensor]]:
        return lambda: [assign(part, codes) for part in parts]

    providers = ours(each(ops.nearest_code), ["nearest_code"], setting.device)
    absent = {}
    for peer, (assign, tolerance) in assigners(setting, dtype).items():
        if isinstance(assign, str):
            absent[peer] = assign
        elif peer == FLASH_ASSIGN.distribution and number > FEW_VARIED:
            absent[peer] = RECOMPILES
        else:
            providers[peer] = Provider(run=each(assign), tolerance=tolerance)
    return Case(
        operator="dictionary",
        name=name,
        providers=providers,
        absent=absent,
        error=lambda found: max(truth.excess(part) for truth, part in _pairs(truths, found)),
        wrong=lambda found: sum(starmap(Truth.wrong, _pairs(truths, found))) / len(parts),
        tolerance=EXACT,
        dtype=_dtype_name(dtype),
        calls=len(parts),
    )


def _draw(setting: Setting, dtype: torch.dtype, shape: Shape) -> tuple[Tensor, Tensor]:
    """Rows around centres, each as likely as another, and a code near each centre."""
    rows, num_codes, width = shape
    generator = setting.generator()
    normal = partial(torch.randn, generator=generator, device=setting.device)
    centres = normal(num_codes, width)
    chosen = torch.randint(num_codes, (rows,), generator=generator, device=setting.device)
    x = normal(rows, width).mul_(ROW_NOISE).add_(centres[chosen])
    return x.to(dtype), centres + CODE_NOISE * normal(num_codes, width)


def _pairs(truths: Sequence[Truth], found: Sequence[Tensor]) -> zip[tuple[Truth, Tensor]]:
    return zip(truths, found, strict=True)


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
