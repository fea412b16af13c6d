"""`vlp-fast bench`: measure the operators, print tables, add rows to the ledger."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vlp_fast.errors import InputError

from . import OPERATORS
from .openmp import wait_passively

if TYPE_CHECKING:
    from .ledger import Row


@dataclass(frozen=True, kw_only=True)
class Request:
    """Time operators beside what one would use instead, solutions checked first.

    `vlp-fast bench` measures all of them: attention, dictionary, losses, matching. Rows are added
    to benchmarks/results/DEVICE/OPERATOR.csv; `--report DIR` draws such a folder instead.
    """

    operators: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[OPERATOR ...]")
    ] = ()
    """Which operators; all by default."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where; auto is the GPU if there is one."""
    quick: bool = False
    """Small batches and few calls, to see that all runs; rows are kept only with --out."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder of DEVICE/OPERATOR.csv instead of the checkout's benchmarks/results."""
    report: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Measure nothing; turn the rows in DIR into DIR/report.md and a picture of each operator."""
    merge: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Measure nothing; add rows measured elsewhere, in DIR/DEVICE/OPERATOR.csv, to the ledger."""

    def __post_init__(self) -> None:
        for operator in self.operators:
            if operator not in OPERATORS:
                raise InputError(
                    f"no benchmark of {operator!r}; there are those of {', '.join(OPERATORS)}"
                )


def bench(request: Request) -> int:
    """Do what was asked for, and return the exit code: 1 if a case of ours failed.

    Raises:
        InputError: if there is no such device, or a folder cannot be read or written.
    """
    if request.report is not None:
        from .report import write_report

        for path in write_report(request.report):
            print(path)
        return 0
    if request.merge is not None:
        from . import ledger

        root = request.out or ledger.results_folder()
        for path, count in ledger.merge(request.merge, root).items():
            print(f"{count} rows added to {path}")
        return 0
    return _measure(request)


def _measure(request: Request) -> int:
    wait_passively()
    from . import ledger, record, suite, table
    from .comparison import comparisons

    where = suite.setting(request.device, is_quick=request.quick)
    operators = request.operators or OPERATORS
    root = suite.destination(request.out, where, operators)
    print(table.machine({**record.environment(where.device), "date": ""}), flush=True)
    written: list[Path] = []
    failed = 0
    for operator in operators:
        for name, make in suite.cases(operator, where).items():
            rows = _rows(f"{operator} {name}", partial(suite.run, make, where))
            failed += rows is None
            if rows:
                print(f"\n{operator}: {table.text(comparisons(rows))}", flush=True)
                written += ledger.append(rows, root) if root else []
    print(f"\n{table.LEGEND}")
    for path in dict.fromkeys(written):
        print(f"rows added to {path}")
    return 1 if failed else 0


def _rows(case: str, run: Callable[[], list[Row]]) -> list[Row] | None:
    """The rows of a case; `None` if ours disagrees or fails, told by one line on stderr."""
    from .harness import DisagreementError, first_line

    try:
        return run()
    except DisagreementError as error:
        told = str(error)
    except Exception as error:  # the other cases go on
        told = f"{case}: {first_line(error)}"
    print(f"vlp-fast: {told}", file=sys.stderr, flush=True)
    return None
