"""`pytest --benchmark`: each case is a test whose solutions are checked before they are timed.

A plugin of pytest wherever vlp_fast is installed, by the entry point `pytest11`; without the option
it does nothing. With it, pytest collects the cases from here instead of files, from any folder, and
reads no conftest.py: those of tests set up other things, one thread for instance.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vlp_fast.errors import InputError

from . import OPERATORS
from .openmp import wait_passively

if TYPE_CHECKING:
    from .case import Case
    from .ledger import Row

FOLDER = Path(__file__).resolve().parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options; pytest-benchmark's begin alike and are others."""
    group = parser.getgroup("vlp_fast", "benchmarks of vlp_fast")
    group.addoption(
        "--benchmark",
        action="store_true",
        dest="vlp_fast_benchmark",
        help="run the benchmarks of vlp_fast instead of tests; choose with -k",
    )
    group.addoption(
        "--benchmark-device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        dest="vlp_fast_device",
        help="where to run them; auto is the GPU if there is one",
    )
    group.addoption(
        "--benchmark-quick",
        action="store_true",
        dest="vlp_fast_quick",
        help="small batches and few calls; rows are kept only with --benchmark-out",
    )
    group.addoption(
        "--benchmark-out",
        type=Path,
        metavar="DIR",
        dest="vlp_fast_out",
        help="the folder of DEVICE/OPERATOR.csv instead of the checkout's benchmarks/results",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, Any, Any]:
    """Keep other people's conftest.py out of a benchmark."""
    if early_config.known_args_namespace.vlp_fast_benchmark:
        early_config.known_args_namespace.noconftest = True
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what would make the times wrong, and take over the collection."""
    if not config.option.vlp_fast_benchmark:
        return
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        raise pytest.UsageError("--benchmark takes no paths; choose cases with -k")
    if getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--benchmark measures time; leave -n out")
    config.pluginmanager.register(_Benchmark(config), "vlp_fast_benchmark")


class _Benchmark:
    """Collects the cases in place of tests, runs them, and prints the tables."""

    def __init__(self, config: pytest.Config) -> None:
        wait_passively()
        from . import suite

        option = config.option
        try:
            self.setting = suite.setting(option.vlp_fast_device, is_quick=option.vlp_fast_quick)
            self.root = suite.destination(option.vlp_fast_out, self.setting, OPERATORS)
        except InputError as error:
            raise pytest.UsageError(str(error)) from None
        self.rows: list[Row] = []
        self.written: list[Path] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        """Collect the cases, deselect by -k, and look at no file."""
        session.items = list(self.items(session))
        hook = session.config.hook
        found = pytest.CollectReport("", "passed", None, list(session.items))
        hook.pytest_collectreport(report=found)  # the terminal counts them
        hook.pytest_collection_modifyitems(
            session=session, config=session.config, items=session.items
        )
        session.testscollected = len(session.items)
        hook.pytest_collection_finish(session=session)
        return True

    def items(self, session: pytest.Session) -> Iterator[pytest.Item]:
        """A test for each case of each operator."""
        from . import suite

        for operator in OPERATORS:
            for name, make in suite.cases(operator, self.setting).items():
                yield CaseItem.from_parent(
                    session,
                    name=f"{operator}[{name}]",
                    nodeid=f"benchmarks/{operator}.py::{name}",
                    operator=operator,
                    measure=lambda make=make: self.measure(make),
                )

    def measure(self, make: Callable[[], Case]) -> None:
        """Measure a case and keep its rows."""
        from . import ledger, suite

        rows = suite.run(make, self.setting)
        self.rows += rows
        if self.root is not None:
            self.written += ledger.append(rows, self.root)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the tables and say where the rows are."""
        from . import table
        from .comparison import comparisons

        if not self.rows:
            return
        terminalreporter.section("benchmark")
        terminalreporter.line(table.machine({**self.rows[0], "date": ""}))
        for operator in OPERATORS:
            of_operator = [row for row in self.rows if row["operator"] == operator]
            for comparison in comparisons(of_operator):
                terminalreporter.line(f"\n{operator}: {table.text([comparison])}")
        terminalreporter.line(f"\n{table.LEGEND}")
        for path in dict.fromkeys(self.written):
            terminalreporter.line(f"rows added to {path}")


class CaseItem(pytest.Item):
    """A case as a test."""

    def __init__(self, *, operator: str, measure: Callable[[], None], **rest: Any) -> None:
        super().__init__(**rest)
        self.operator, self.measure = operator, measure

    def runtest(self) -> None:
        """Check and time the case."""
        self.measure()

    def reportinfo(self) -> tuple[Path, int, str]:
        """The operator's file and the case."""
        return FOLDER / f"{self.operator}.py", 0, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """One line where one line says all."""
        from .harness import DisagreementError

        if isinstance(excinfo.value, DisagreementError | InputError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)
