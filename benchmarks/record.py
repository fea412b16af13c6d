"""The ledger: every measurement is a row of a CSV file, with all that it depends on.

Rows are only ever added: `benchmarks/results/<device>/<operator>.csv` of the checkout.
"""

from __future__ import annotations

import csv
import math
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from vlp_fast import __version__
from vlp_fast.errors import InputError

from . import peers
from .harness import Result, Timing
from .limits import limit_fraction
from .openmp import wait_policy

Row = dict[str, str]

HERE = Path(__file__).resolve().parent
COLUMNS = (
    *("operator", "case", "provider", "backend", "direction", "dtype", "cache"),
    *("median_us", "p20_us", "p80_us", "host_us", "first_us", "compilations", "synchronisations"),
    *("gb_per_s", "tflop_per_s", "limit_fraction", "max_error", "note"),
    *("device", "cpu_threads", "omp_wait_policy", "others_cpu"),
    *("torch", "triton", "cuda", "numpy", "scipy", "peers"),
    *("vlp_fast", "commit", "date"),
)
"""`note` says why a provider was not measured. `first_us` is a call of the first run, with all that
it compiles and loads; `others_cpu` is the share of the CPUs that other processes took meanwhile;
`synchronisations` are waits for the device in a call; `commit` ends in + if
anything was uncommitted; `date` (UTC, to the second) is the same for all that ran side by side."""


def rows(results: Iterable[Result], device: str) -> list[Row]:
    """One row for each provider and state of the cache.

    Args:
        results: of one case.
        device: `cpu` or `cuda`.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    machine = {**environment(device), "date": now}
    return [
        {**_identity(result), **figures, **machine}
        for result in results
        for figures in _figures(result, machine["device"])
    ]


def append(new: Sequence[Row], root: Path) -> list[Path]:
    """Add rows to the files of their devices and operators below `root`; return the files.

    Raises:
        InputError: if a file cannot be written, or has other columns.
    """
    paths = []
    for row in new:
        path = root / device_folder(row["device"]) / f"{row['operator']}.csv"
        try:
            _append(row, path)
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written ({error.strerror}); give another --out"
            ) from None
        paths.append(path)
    return list(dict.fromkeys(paths))


def read(path: Path) -> list[Row]:
    """The rows of a file.

    Raises:
        InputError: if it cannot be read, or is not a file of measurements.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            found = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if tuple(reader.fieldnames or ()) != COLUMNS or any(None in row.values() for row in found):
        raise InputError(f"{path}: has not the columns of a measurement; move it away")
    return found


def results_folder() -> Path:
    """`benchmarks/results` of the checkout; of the current folder if there is no checkout."""
    return HERE / "results" if _is_checkout() else Path("benchmarks") / "results"


def device_folder(device: str) -> str:
    """`h200` for an NVIDIA H200, `cpu-2-cores` for a CPU with two."""
    cores = re.search(r", (\d+) cores?$", device)
    if cores:
        return f"cpu-{cores[1]}-cores"
    return re.sub(r"[^a-z0-9]+", "-", device.lower().removeprefix("nvidia ")).strip("-")


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
        "note": result.problem,
        "others_cpu": number(None if result.others_cpu is None else round(result.others_cpu, 3)),
    }


def _figures(result: Result, device: str) -> Iterator[Row]:
    if not result.timings:
        yield dict.fromkeys(_TIMED, "")
    for timing in result.timings:
        yield dict(zip(_TIMED, _timed(result, timing, device), strict=True))


_TIMED = (
    *("cache", "median_us", "p20_us", "p80_us", "host_us"),
    *("gb_per_s", "tflop_per_s", "limit_fraction"),
)


def _timed(result: Result, timing: Timing, device: str) -> list[str]:
    case, seconds = result.case, timing.device.median
    share = limit_fraction(device, case.dtype, seconds, case.num_bytes, case.flops)
    return [
        timing.cache,
        number(1e6 * seconds),
        number(1e6 * timing.device.p20),
        number(1e6 * timing.device.p80),
        number(1e6 * timing.host),
        number(None if case.num_bytes is None else case.num_bytes / seconds / 1e9),
        number(None if case.flops is None else case.flops / seconds / 1e12),
        number(share),
    ]


def _append(row: Row, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    if not is_new:
        read(path)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


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
    """Short commit of the checkout; empty outside of one."""
    if not _is_checkout():
        return ""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--", ":!benchmarks/results") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=HERE.parent, capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.strip()


def _is_checkout() -> bool:
    return (HERE.parent / "pyproject.toml").is_file()
