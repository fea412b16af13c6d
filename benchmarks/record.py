"""From the file that pytest-benchmark writes to rows of the ledger, with all they depend on."""

from __future__ import annotations

import math
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlp_fast import __version__
from vlp_fast.threads import wait_policy

from . import ledger, peers
from .ledger import Row

COMMIT = "VLP_FAST_COMMIT"
"""Environment variable with the commit, for a copy without .git."""

H200_AND_H100 = {"float32": 67e12, "float16": 989e12, "bfloat16": 989e12}
PEAKS: dict[str, tuple[float, dict[str, float]]] = {
    "NVIDIA H200": (4800e9, H200_AND_H100),
    "NVIDIA H100 80GB HBM3": (3350e9, H200_AND_H100),
    "NVIDIA A100-SXM4-80GB": (2039e9, {"float32": 19.5e12, "float16": 312e12, "bfloat16": 312e12}),
    "Tesla V100-SXM2-32GB": (900e9, {"float32": 15.7e12, "float16": 125e12}),
}
"""By the name that torch reports: nominal bytes and operations a second by dtype, matrix units
without sparsity, float32 outside of them. From NVIDIA's datasheets, SXM."""


def rows(document: dict[str, Any]) -> list[Row]:
    """Rows of a file of `--benchmark-json`: one for each provider.

    Benchmarks of others in it are passed over.
    """
    told = document.get("machine_info", {}).get("vlp_fast")
    if told is None:
        return []
    date = datetime.fromisoformat(document["datetime"]).strftime("%Y-%m-%dT%H:%M:%SZ")
    machine = {name: told[name] for name in told if name != "is_quick"} | {"date": date}
    note = {"note": ledger.QUICK if told["is_quick"] else ""}
    timed = [one for one in document["benchmarks"] if "provider" in one["extra_info"]]
    found = [_timed(x["extra_info"], x["stats"]["data"], told["device"]) for x in timed]
    left_out = [_identity(x) | {"note": x["problem"]} for x in document["vlp_fast_left_out"]]
    return [row | machine for row in (*(x | note for x in found), *left_out)]


@cache
def environment(device: str) -> Row:
    """What every measurement of this process depends on."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else _cpu(),
        "cpu_threads": str(torch.get_num_threads()),
        "omp_wait_policy": wait_policy(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "",
        **{name: peers.version_of(name) for name in ("triton", "numpy", "scipy")},
        "peers": peers.versions(),
        "vlp_fast": __version__,
        "commit": _commit(),
    }


def number(value: float | None) -> str:
    """Four digits, without an exponent; empty for what is not known."""
    if value is None:
        return ""
    if value == 0 or abs(value) < 1e-4:
        return f"{value:.3g}"
    return f"{value:.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"


def limit_fraction(
    device: str, dtype: str, seconds: float, num_bytes: int | None, flops: int | None
) -> float | None:
    """Share of the physical limit: the least time that bytes and operations need, by the time.

    `None` for a device or dtype that is not in the table, or where neither is counted.
    """
    if device not in PEAKS or (num_bytes is None and flops is None):
        return None
    bytes_per_second, flops_per_second = PEAKS[device]
    if flops is not None and dtype not in flops_per_second:
        return None
    arithmetic = flops / flops_per_second[dtype] if flops is not None else 0.0
    return max((num_bytes or 0) / bytes_per_second, arithmetic) / seconds


def _identity(info: dict[str, Any]) -> Row:
    columns = ("operator", "case", "provider", "backend", "direction", "dtype")
    return {**dict.fromkeys(ledger.COLUMNS, ""), **{column: info[column] for column in columns}}


def _timed(info: dict[str, Any], times: Sequence[float], device: str) -> Row:
    p20, median, p80 = (float(value) for value in np.percentile(times, (20, 50, 80)))
    num_bytes, flops, extra, others = (
        info[name] for name in ("num_bytes", "flops", "extra_bytes", "others_cpu")
    )
    figures = {
        "median_us": 1e6 * median,
        "p20_us": 1e6 * p20,
        "p80_us": 1e6 * p80,
        "host_us": 1e6 * info["host"],
        "wall_us": 1e6 * info["wall"],
        "first_us": 1e6 * info["first"],
        "synchronisations": info["synchronisations"],
        "gb_per_s": None if num_bytes is None else num_bytes / median / 1e9,
        "tflop_per_s": None if flops is None else flops / median / 1e12,
        "limit_fraction": limit_fraction(device, info["arithmetic"], median, num_bytes, flops),
        "max_error": info["error"],
        "wrong_share": info["wrong"],
        "extra_mib": None if extra is None else extra / 2**20,
        "others_cpu": None if others is None else round(others, 3),
    }
    written = {column: number(value) for column, value in figures.items()}
    written |= {"cache": info["cache"], "compilations": str(info["compilations"])}
    return _identity(info) | written


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    model = re.search(r"^model name\s*: (.+)$", text, re.M)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = model[1] if model else platform.processor() or platform.machine()
    return f"{name}, {cores} core{'s' if cores != 1 else ''}"


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
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 30, "check": True}
    return str(subprocess.run(["git", *words], cwd=ledger.HERE.parent, **options).stdout).strip()
