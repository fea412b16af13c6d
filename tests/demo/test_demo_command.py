"""`vlp-fast demo`: what is wrong is one line, told before anything heavy is imported."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vlp_fast.demo.port import HOST, address, listen

Call = Callable[..., Any]  # the fixture of conftest.py


@pytest.fixture
def with_gradio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlp_fast.cli.demo.find_spec", lambda _: object())


def test_missing_gradio_is_named_with_the_remedy(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlp_fast.cli.demo.find_spec", lambda _: None)
    call("demo").assert_refused("gradio", "pip install 'vlp_fast[demo]'")


@pytest.mark.usefixtures("with_gradio")
def test_a_port_in_use_is_told(call: Call) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        call("demo", "--port", port).assert_refused(f"--port {port}: is in use", "another")


@pytest.mark.usefixtures("with_gradio")
@pytest.mark.parametrize("port", ["-1", "65536", "80.5", "http"])
def test_a_port_that_cannot_be_is_told(call: Call, port: str) -> None:
    call("demo", f"--port={port}").assert_refused("--port", port.lstrip("-"))


@pytest.mark.usefixtures("with_gradio")
def test_a_folder_without_a_model_is_told(call: Call, tmp_path: Path) -> None:
    call("demo", tmp_path / "nothing").assert_refused("nothing: no such folder", "soho_small_world")
    call("demo", "soho_small_world", tmp_path).assert_refused("neither run.json nor config.json")


@pytest.mark.usefixtures("with_gradio")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_end_it_with_a_line(
    call: Call, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    """The process ends by itself, and takes the uploads with it."""
    page = SimpleNamespace(build_page=lambda models: [one.name for one in models])
    served = []

    def serve(names: list[str], taken: socket.socket) -> None:
        served.append(names)
        os.kill(os.getpid(), number)

    monkeypatch.setitem(sys.modules, "vlp_fast.demo.page", page)
    monkeypatch.setitem(sys.modules, "vlp_fast.demo.server", SimpleNamespace(serve=serve))
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, usual)  # in the background of a shell it is ignored
    try:
        answer = call("demo", "soho_small_world", "--port", 0, "--device", "cpu")
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, before)
    assert (answer.code, answer.err) == (code, "vlp-fast: stopped\n")
    assert answer.out.startswith("page: http://127.0.0.1:")
    assert served == [["soho_small_world"]]


def test_other_machines_do_not_reach_the_port() -> None:
    with listen(0) as taken:
        assert taken.getsockname()[0] == "127.0.0.1"
        assert address(taken) == f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_help_and_refusals_import_nothing_heavy() -> None:
    code = """
import contextlib, sys
from vlp_fast.cli import main
with contextlib.suppress(SystemExit):
    main(["demo", "--help"])
assert main(["demo", "no-such-model"]) == 2
heavy = {"torch", "gradio", "fastapi", "uvicorn"} & {*sys.modules}
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--port" in done.stdout
