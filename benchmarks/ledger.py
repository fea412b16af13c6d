"""The ledger: every measurement is a row of a CSV file, with all that it depends on.

Rows are only ever added: `benchmarks/results/<device>/<operator>.csv` of the checkout.
"""

from __future__ import annotations

import csv
import math
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from vlp_fast.errors import InputError

Row = dict[str, str]

HERE = Path(__file__).resolve().parent
FIGURES = (
    *("median_us", "p20_us", "p80_us", "host_us", "wall_us"),
    *("first_us", "compilations", "synchronisations"),
    *("gb_per_s", "tflop_per_s", "limit_fraction", "max_error", "wrong_share", "extra_mib"),
)
"""Columns of numbers; empty where there is none."""
ADDED = ("wrong_share", "extra_mib")
"""Columns that files of before lack: read as empty, written with the next row."""
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
its peak. `note` says why a provider was not measured, or that the run was a `quick` one.
`others_cpu` is the share of the CPUs that other processes took meanwhile; `synchronisations` are
waits for the device in a call; `commit` ends in + if anything was uncommitted; `date` (UTC, to the
second) is the same for all that ran side by side."""

QUICK = "quick"
"""Note of a row with figures that mean little."""


def append(new: Sequence[Row], root: Path) -> list[Path]:
    """Add rows to the files of their devices and operators below `root`; return the files.

    Raises:
        InputError: if a file cannot be written, or has other columns.
    """
    paths = []
    for row in new:
        path = _path(row, root)
        try:
            _append(row, path)
        except OSError as error:
            raise _not_writable(path, error) from None
        paths.append(path)
    return list(dict.fromkeys(paths))


def merge(source: Path, root: Path) -> dict[Path, int]:
    """Add the rows of `source` that `root` lacks; how many each file got. Quick runs stay out.

    Args:
        source: a folder of DEVICE/OPERATOR.csv, or of one device's OPERATOR.csv.
        root: a folder of DEVICE/OPERATOR.csv.

    Raises:
        InputError: if `source` holds no measurements, or a file cannot be read or written.
    """
    files = sorted([*source.glob("*.csv"), *source.glob("*/*.csv")])
    if not files:
        raise InputError(f"{source}: holds no measurements")
    added: dict[Path, int] = {}
    for row in (row for file in files for row in read(file) if row["note"] != QUICK):
        path = _path(row, root)
        added.setdefault(path, 0)
        if not path.exists() or row not in read(path):
            append([row], root)
            added[path] += 1
    return added


def check_writable(root: Path, device: str, operators: Iterable[str]) -> None:
    """See before anything is measured that its rows can be kept.

    Raises:
        InputError: if a file cannot be written, or has other columns.
    """
    folder = root / device_folder(device)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for path in (folder / f"{operator}.csv" for operator in operators):
            if path.exists():
                with path.open("a"):
                    pass
                _check_old(path)
    except OSError as error:
        raise _not_writable(folder, error) from None


def read(path: Path) -> list[Row]:
    """The rows of a file.

    Raises:
        InputError: if it cannot be read, or is not a file of measurements.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file, strict=True)
            found = list(reader)
            columns = tuple(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    missing = [column for column in ADDED if column not in columns]
    found = [{**dict.fromkeys(missing, ""), **row} for row in found]
    if columns != tuple(column for column in COLUMNS if column not in missing):
        why = "has not the columns of a measurement" if columns else "is empty"
        raise InputError(f"{path}: {why}; move it away")
    for number, row in enumerate(found, start=2):
        wrong = _wrong(row)
        if wrong:
            raise InputError(f"{path}: row {number} {wrong}; mend it or move the file away")
    return found


def results_folder() -> Path:
    """`benchmarks/results` of the checkout; of the current folder if there is no checkout."""
    return HERE / "results" if is_checkout() else Path("benchmarks") / "results"


def device_folder(device: str) -> str:
    """`h200` for an NVIDIA H200, `cpu-2-cores` for a CPU with two."""
    cores = re.search(r", (\d+) cores?$", device)
    if cores:
        return f"cpu-{cores[1]}-cores"
    return re.sub(r"[^a-z0-9]+", "-", device.lower().removeprefix("nvidia ")).strip("-")


def is_checkout() -> bool:
    """Whether this file lies in a checkout, not in an installed package."""
    return (HERE.parent / "pyproject.toml").is_file()


def _path(row: Row, root: Path) -> Path:
    return root / device_folder(row["device"]) / f"{row['operator']}.csv"


def _append(row: Row, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists() or not path.stat().st_size
    if not is_new:
        _add_columns(path)
    with path.open("a+b") as old:
        old.seek(max(0, old.seek(0, 2) - 1))
        if old.read() not in (b"", b"\n"):  # else the row would be glued to the last one
            old.write(b"\n")
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def _add_columns(path: Path) -> None:
    """Give a file of before the columns that it lacks, all at once or not at all."""
    rows = read(path)
    with path.open(newline="") as file:
        if tuple(next(csv.reader(file))) == COLUMNS:
            return
    with tempfile.NamedTemporaryFile("w", dir=path.parent, newline="", delete=False) as new:
        writer = csv.DictWriter(new, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    Path(new.name).chmod(path.stat().st_mode)
    Path(new.name).replace(path)


def _check_old(path: Path) -> None:
    if path.stat().st_size:
        read(path)


def _wrong(row: Row) -> str:
    """What is wrong with a row; empty if nothing is."""
    if None in row or None in row.values():
        return f"has not {len(COLUMNS)} entries"
    for column in (*FIGURES, "others_cpu"):
        if row[column] and not _is_number(row[column]):
            return f"has {row[column]!r} as {column}, which is no number"
    return ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _not_writable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be written ({error.strerror}); give another --out")
