"""`vlp-fast demo [MODEL ...]`: a page on which a browser asks trained models about pictures."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import UseAppendAction

from vlp_fast.checks import Range, check
from vlp_fast.demo.port import LAST, address, listen
from vlp_fast.errors import InputError
from vlp_fast.inference.places import model_folder
from vlp_fast.inference.shipped import shipped_names

ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
PORT = Range(f"0 to {LAST}", lambda port: 0 <= port <= LAST)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Open a page on which a browser of this machine asks trained models about pictures.

    Several models share the page: each says what it has learnt to say. Extra [demo].
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = ()
    """Runs' folders, some that `vlp-fast export` wrote, hf://organisation/model, or models that
    come with the package; if not given, all of the latter."""
    port: int = 7860
    """Where the page is on this machine; 0: any that is free."""
    recipe_file: UseAppendAction[tuple[Path, ...]] = ()
    """A file of recipes of your own that a run was trained by; it is run. May be given more than
    once. A file that only a run's folder names is not run."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""

    def __post_init__(self) -> None:
        """Raises ValueError for a number that no port has."""
        check(self, PORT, "port")


def run(words: list[str]) -> int:
    """Load models and serve their page until Ctrl-C."""
    from vlp_fast.cli.options import parse

    asked: Demo = parse(Demo, words, "vlp-fast demo")
    if find_spec("gradio") is None:
        raise InputError("the page needs gradio, which is missing: pip install 'vlp_fast[demo]'")
    if asked.recipe_file:
        from vlp_fast.recipes import load_file

        for file in asked.recipe_file:
            load_file(file)
    given = asked.models or tuple(shipped_names())
    folders = [model_folder(name) for name in given]
    with listen(asked.port) as taken, _ended_by_signals():
        from vlp_fast.demo.models import load_models
        from vlp_fast.demo.page import build_page
        from vlp_fast.demo.server import serve
        from vlp_fast.inference.words import CutText

        warnings.filterwarnings("ignore", category=CutText)  # who asks does not see the terminal
        page = build_page(load_models(given, folders, asked.device))
        print(f"page: {address(taken)} (for browsers of this machine; Ctrl-C ends it)", flush=True)
        serve(page, taken)
    return 0


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Within this context a signal ends the page as Ctrl-C does, so that its files go with it."""
    from vlp_fast.engine.stop import Stopped

    def stop(number: int, _: object) -> None:
        raise Stopped(number)

    before = {
        name: signal.signal(name, stop)
        for name in ENDING
        if signal.getsignal(name) != signal.SIG_IGN  # as `nohup` has it
    }
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
