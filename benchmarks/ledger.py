"""The ledger: every measurement is a row of a CSV file, with all that it depends on.

Rows are only ever added: `benchmarks/results/<device>/<operator>.csv` of the checkout.
"""

from __future__ import annotations

import csv
import math
import re
import tempfile
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from vlp_fast.errors import InputError

Row = dict[str, str]

HERE = Path(__file__).resolve().parent
FIGURES = (
    *("median_us", "p20_us", "p80_us", "host_us", "wall_us"),
    *("first_us", "compilations", "synchronisations"),
    *("gb_per_s", "tflop_per_s", "limit_fraction", "max_error", "wrong_share", "extra_mib"),
    *("pairs_per_s", "pairs_per_s_std", "peak_mib", "cpu_us"),
)
"""What was measured; empty where there is nothing."""
NUMBERS = (*FIGURES, "others_cpu")
COLUMNS = (
    *("operator", "case", "provider", "backend", "direction", "dtype", "cache"),
    *FIGURES,
    "note",
    *("device", "cpu_threads", "omp_wait_policy", "others_cpu"),
    *("torch", "triton", "cuda", "numpy", "scipy", "peers"),
    *("vlp_fast", "commit", "date"),
)
"""`host_us` is the time until the call returns, `wall_us` until the device is idle again, the same
on a CPU. `first_us` is a call of the first run, with all that the process compiles and loads.
`wrong_share` of a solution's parts are not the best; `extra_mib` is the memory that a run takes at
its peak. Of whole steps, `pairs_per_s` is the mean over passes with its standard deviation,
`peak_mib` the most memory that the process had, or that PyTorch's allocator handed out on a GPU,
and `cpu_us` the CPU time of the process, without those that load. `note` says why a provider was
not measured, or that the run was a `quick` one. `others_cpu` is the share of the CPUs that other
processes took meanwhile; `synchronisations` are waits for the device in a call; `commit` ends in +
if anything was uncommitted; `date` (UTC, to the second) is the same for all of one run. A file of
before a column was added is read as if that were empty."""

QUICK = "quick"
"""Note of a row with figures that mean little."""


def append(new: Iterable[Row], root: Path) -> dict[Path, int]:
    """Add rows that are not there yet to the files of their devices and operators below `root`.

    Returns:
        How many each file got.

    Raises:
        InputError: if a file cannot be written, or is not one of measurements.
    """
    added: dict[Path, int] = {}
    for path, group in groupby(new, key=lambda row: _path(row, root)):
        old = read(path) if path.exists() and path.stat().st_size else []
        fresh = [row for row in group if row not in old]
        added[path] = added.get(path, 0) + len(fresh)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if fresh:
                _write([*old, *fresh], path)
        except OSError as error:
            why = f"{path}: cannot be written ({error.strerror}); give another --out"
            raise InputError(why) from None
    return added


def read_folder(source: Path) -> list[Row]:
    """All rows of a folder of DEVICE/OPERATOR.csv, or of one device's OPERATOR.csv.

    Raises:
        InputError: if it holds no measurements, or a file cannot be read.
    """
    files = sorted([*source.glob("*.csv"), *source.glob("*/*.csv")])
    if not files:
        raise InputError(f"{source}: holds no measurements")
    return [row for path in files for row in read(path)]


def read(path: Path) -> list[Row]:
    """The rows of a file.

    Raises:
        InputError: if it cannot be read, or is not a file of measurements.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file, strict=True)
            found, columns = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if not columns or columns != [name for name in COLUMNS if name in columns]:
        why = "has not the columns of a measurement" if columns else "is empty"
        raise InputError(f"{path}: {why}; move it away")
    for number, row in enumerate(found, start=2):
        is_whole = None not in row and None not in row.values()
        if not is_whole or not all(_is_number(row.get(name) or "0") for name in NUMBERS):
            raise InputError(f"{path}: row {number} is damaged; mend it or move the file away")
    return [{**dict.fromkeys(COLUMNS, ""), **row} for row in found]


def results_folder() -> Path:
    """`benchmarks/results` of the checkout; of the current folder if there is no checkout."""
    return HERE / "results" if is_checkout() else Path("benchmarks") / "results"


def device_folder(device: str) -> str:
    """`h200` for an NVIDIA H200, `cpu-2-cores` for a CPU with two."""
    if cores := re.search(r", (\d+) cores?$", device):
        return f"cpu-{cores[1]}-cores"
    return re.sub(r"[^a-z0-9]+", "-", device.lower().removeprefix("nvidia ")).strip("-")


def is_checkout() -> bool:
    """Whether this file lies in a checkout, not in an installed package."""
    return (HERE.parent / "pyproject.toml").is_file()


def _path(row: Row, root: Path) -> Path:
    return root / device_folder(row["device"]) / f"{row['operator']}.csv"


def _write(rows: Sequence[Row], path: Path) -> None:
    """All at once or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, newline="", delete=False) as new:
        writer = csv.DictWriter(new, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    Path(new.name).chmod(path.stat().st_mode if path.exists() else 0o644)
    Path(new.name).replace(path)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
