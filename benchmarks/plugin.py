"""`pytest --benchmark`: each provider of each case is a benchmark of pytest-benchmark's.

A plugin of pytest wherever vlp_fast is installed, by the entry point `pytest11`; without the option
it does nothing. With it, pytest collects `timed_cases.py` instead of tests, from any folder, and
reads no conftest.py: those of tests set up other things, one thread for instance. The options of
pytest-benchmark choose what is shown, saved and compared.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vlp_fast.errors import InputError
from vlp_fast.threads import wait_passively

if TYPE_CHECKING:
    from .case import Case
    from .harness import Result

CASES = Path(__file__).resolve().parent / "timed_cases.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options; those of pytest-benchmark begin alike and are others."""
    add = parser.getgroup("vlp_fast", "benchmarks of vlp_fast").addoption
    told = "run the benchmarks of vlp_fast instead of tests; choose with -k"
    add("--benchmark", action="store_true", dest="vlp_fast_benchmark", help=told)
    told = "where to run them; auto is the GPU if there is one"
    devices = ("auto", "cpu", "cuda")
    add("--benchmark-device", choices=devices, default="auto", dest="vlp_fast_device", help=told)
    told = "small batches and few calls, to see that all of them run"
    add("--benchmark-quick", action="store_true", dest="vlp_fast_quick", help=told)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, Any, Any]:
    """Keep other people's conftest.py out of a benchmark."""
    if early_config.known_args_namespace.vlp_fast_benchmark:
        early_config.known_args_namespace.noconftest = True
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what would make the times wrong, and collect the cases."""
    if not config.option.vlp_fast_benchmark:
        return
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        raise pytest.UsageError("--benchmark takes no paths; choose cases with -k")
    if getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--benchmark measures time; leave -n out")
    if not hasattr(config.option, "benchmark_min_rounds"):
        raise pytest.UsageError("--benchmark needs pytest-benchmark: pip install pytest-benchmark")
    if config.option.benchmark_histogram and find_spec("pygal") is None:
        told = "--benchmark-histogram needs pygal: pip install 'pytest-benchmark[histogram]'"
        raise pytest.UsageError(told)
    wait_passively()
    config.args = [str(CASES)]
    config.option.reportchars += "sx"  # say why somebody is left out
    config.pluginmanager.register(Benchmarks(config), "vlp_fast_benchmarks")


class Benchmarks:
    """What the cases ask of pytest's options, and what pytest-benchmark's file says of us."""

    def __init__(self, config: pytest.Config) -> None:
        from . import case
        from .timing import QUICK, Effort

        option = config.option
        try:
            setting = case.setting(option.vlp_fast_device, is_quick=option.vlp_fast_quick)
        except InputError as error:
            raise pytest.UsageError(str(error)) from None
        rounds, seconds = option.benchmark_min_rounds, float(option.benchmark_max_time)
        self.setting = setting
        self.effort = QUICK if setting.is_quick else Effort(fewest=rounds, most_seconds=seconds)
        self.case: Case | None = None
        """The one that was measured last, its results, and what is wrong with ours."""
        self.results: dict[str, Result] = {}
        self.wrong = ""
        self.left_out: list[Result] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_machine_info(self, machine_info: dict[str, Any]) -> None:
        """Say where the times are from, and whether they mean little."""
        from .record import environment

        told = {**environment(self.setting.device), "is_quick": self.setting.is_quick}
        machine_info["vlp_fast"] = told

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """Say who was not timed, and why."""
        output_json["vlp_fast_left_out"] = [asdict(result) for result in self.left_out]
