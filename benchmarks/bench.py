"""`vlp-fast bench`: `pytest --benchmark`, whose file becomes rows of the ledger; reports of it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vlp_fast.errors import InputError
from vlp_fast.threads import wait_passively

from . import LATENCY, OPERATORS, STEP, ledger
from .latency.request import LatencyRequest
from .plugin import CASES
from .step.request import StepRequest

SHOWN = ("--benchmark-columns=median,iqr,min,rounds", "--benchmark-sort=mean")
ALONE = ("-c", os.devnull, f"--rootdir={CASES.parent}", "-p", "no:cacheprovider", "--assert=plain")
"""No settings of the folder that one happens to be in."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Time operators beside what one would use instead, solutions checked first.

    `vlp-fast bench` measures all of them: attention, data_loading, dictionary, losses, matching.
    `vlp-fast bench step` measures whole steps of pre-training beside a composition of what people
    have, `vlp-fast bench latency` a pair of picture and text beside a two-stage baseline, as the
    papers do. Rows are added to benchmarks/results/DEVICE/OPERATOR.csv; `--report DIR` draws such a
    folder.
    """

    operators: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[OPERATOR ...]")
    ] = ()
    """Which operators; all by default. `step` and `latency`, which take longer, are measured if
    they are named."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where; auto is the GPU if there is one."""
    quick: bool = False
    """Small batches and few calls, to see that all runs; rows are kept only with --out."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder of DEVICE/OPERATOR.csv instead of the checkout's benchmarks/results."""
    report: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Measure nothing; turn the rows in DIR into DIR/report.md and a picture of curves."""
    merge: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Measure nothing; add rows from elsewhere: DEVICE/OPERATOR.csv in the folder PATH, or the
    file PATH of `pytest --benchmark --benchmark-json PATH`."""

    step: StepRequest = field(default_factory=StepRequest)
    """Of `step`."""
    latency: LatencyRequest = field(default_factory=LatencyRequest)
    """Of `latency`."""

    def __post_init__(self) -> None:
        known = (*OPERATORS, STEP, LATENCY)
        if unknown := set(self.operators) - set(known):
            told = f"no benchmark of {min(unknown)!r}; there are those of {', '.join(known)}"
            raise InputError(told)


def bench(request: Request) -> int:
    """Do what was asked for, and return the exit code: 1 if a case failed.

    Raises:
        InputError: if there is no such device, or a folder cannot be read or written.
    """
    root = request.out or ledger.results_folder()
    if request.report is not None:
        from .report import write_report

        print(*write_report(request.report), sep="\n")
        return 0
    if request.merge is not None:
        rows = _rows(request.merge)
        quick = {row["date"] for row in rows if row["note"] == ledger.QUICK}  # all of one run
        _keep((row for row in rows if row["date"] not in quick), root)
        return 0
    wait_passively()
    from . import case

    device = case.setting(request.device).device
    operators = [name for name in request.operators or OPERATORS if name in OPERATORS]
    code = 0
    with _writable(root, request) as folder:
        if operators:
            code = _operators(operators, request, device, folder, root)
        if LATENCY in request.operators:
            from .latency.bench import bench_latency

            pairs = bench_latency(request.latency, device, is_quick=request.quick)
            code = max(code, pairs.code)
            if folder is not None:
                _keep(pairs.rows, root)
        if STEP in request.operators:
            from .step.bench import bench_steps

            for found in bench_steps(request.step, device, is_quick=request.quick):
                code = max(code, found.code)
                if folder is not None:
                    _keep(found.rows, root)
    return code


def _operators(
    operators: list[str], request: Request, device: str, folder: Path | None, root: Path
) -> int:
    """By pytest; rows are kept if there is a folder for its file."""
    words = ["--benchmark", f"--benchmark-device={device}", *["--benchmark-quick"] * request.quick]
    words += [*SHOWN, *ALONE, "-q", "-k", " or ".join(operators)]
    if folder is None:
        return _pytest(words)
    file = folder / "benchmark.json"
    code = _pytest([f"--benchmark-json={file}", *words])
    if file.exists():
        _keep(_rows(file), root)
    return code


def _pytest(words: list[str]) -> int:
    try:
        import pytest
        import pytest_benchmark  # noqa: F401
    except ImportError as error:
        raise InputError(f"{error}; pip install pytest-benchmark") from None
    return 1 if pytest.main(words) else 0


@contextmanager
def _writable(root: Path, request: Request) -> Iterator[Path | None]:
    """A place in the ledger for what is measured, seen before anything is; None to keep nothing."""
    if request.quick and request.out is None:
        yield None
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(dir=root, prefix=".")
    except OSError as error:
        raise InputError(
            f"{root}: cannot be written ({error.strerror}); give another --out"
        ) from None
    with made as folder:
        yield Path(folder)


def _rows(source: Path) -> list[ledger.Row]:
    """Of a folder of the ledger, or of pytest-benchmark's file."""
    if not source.is_file():
        return ledger.read_folder(source)
    from . import record

    try:
        found = record.rows(json.loads(source.read_text()))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{source}: cannot be read ({error!r})") from None
    if not found:
        raise InputError(f"{source}: holds no measurements")
    return found


def _keep(rows: Iterable[ledger.Row], root: Path) -> None:
    for path, count in ledger.append(rows, root).items():
        print(f"{count} rows added to {path}")
