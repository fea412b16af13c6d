"""What a measurement leaves behind: a row of the ledger, with all that it depends on."""

from __future__ import annotations

import math
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from vlp_fast import __version__

from . import ledger, peers
from .ledger import Row
from .limits import limit_fraction
from .openmp import wait_policy
from .result import Result, Timing

COMMIT = "VLP_FAST_COMMIT"
"""Environment variable with the commit, for a copy without .git."""


def rows(results: Iterable[Result], device: str, *, note: str = "") -> list[Row]:
    """One row for each provider and state of the cache.

    Args:
        results: of one case.
        device: `cpu` or `cuda`.
        note: of the rows with figures.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    machine = {**environment(device), "date": now}
    return [
        {**_identity(result), **figures, **machine, "note": result.problem or note}
        for result in results
        for figures in _figures(result, machine["device"])
    ]


@cache
def environment(device: str) -> Row:
    """What every measurement of this process depends on."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else _cpu(),
        "cpu_threads": str(torch.get_num_threads()),
        "omp_wait_policy": wait_policy(),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "cuda": torch.version.cuda or "",
        "numpy": _version("numpy"),
        "scipy": _version("scipy"),
        "peers": peers.versions(),
        "vlp_fast": __version__,
        "commit": _commit(),
    }


def number(value: float | None) -> str:
    """Four digits, without an exponent; empty for what is not known."""
    if value is None or math.isnan(value):
        return ""
    if value == 0 or abs(value) < 1e-4:
        return f"{value:.3g}"
    return f"{value:.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"


def _identity(result: Result) -> Row:
    case = result.case
    return {
        "operator": case.operator,
        "case": case.name,
        "provider": result.provider,
        "backend": result.backend,
        "direction": case.direction,
        "dtype": case.dtype,
        "compilations": "" if result.problem else str(result.compilations),
        "synchronisations": number(result.synchronisations),
        "first_us": number(1e6 * result.first),
        "max_error": number(result.error),
        "wrong_share": number(result.wrong),
        "extra_mib": number(None if result.extra_bytes is None else result.extra_bytes / 2**20),
        "others_cpu": number(None if result.others_cpu is None else round(result.others_cpu, 3)),
    }


def _figures(result: Result, device: str) -> Iterator[Row]:
    if not result.timings:
        yield dict.fromkeys(_TIMED, "")
    for timing in result.timings:
        yield dict(zip(_TIMED, _timed(result, timing, device), strict=True))


_TIMED = (
    *("cache", "median_us", "p20_us", "p80_us", "host_us", "wall_us"),
    *("gb_per_s", "tflop_per_s", "limit_fraction"),
)


def _timed(result: Result, timing: Timing, device: str) -> list[str]:
    case, seconds = result.case, timing.device.median
    arithmetic = case.arithmetic or case.dtype
    share = limit_fraction(device, arithmetic, seconds, case.num_bytes, case.flops)
    if timing.cache == "hot":
        share = None  # what is read lies in the cache, which the limit of the memory does not bind
    return [
        timing.cache,
        number(1e6 * seconds),
        number(1e6 * timing.device.p20),
        number(1e6 * timing.device.p80),
        number(1e6 * timing.host),
        number(1e6 * timing.wall),
        number(None if case.num_bytes is None else case.num_bytes / seconds / 1e9),
        number(None if case.flops is None else case.flops / seconds / 1e12),
        number(share),
    ]


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    model = re.search(r"^model name\s*: (.+)$", text, re.M)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = model[1] if model else platform.processor() or platform.machine()
    return f"{name}, {cores} core{'s' if cores != 1 else ''}"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    """Short commit of the checkout; without .git, what the environment says."""
    told = os.environ.get(COMMIT, "")
    if not ledger.is_checkout() or not (ledger.HERE.parent / ".git").exists():
        return told
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--", ":!benchmarks/results") else "")
    except (OSError, subprocess.SubprocessError):
        return told


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words],
        cwd=ledger.HERE.parent,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.strip()
