"""The command line: train, evaluate, replay, submit, retrieve, predict, export, ...

A command is a file of this folder with `run(words) -> exit code`, and a line in `COMMANDS`. Nothing
heavy is imported before a command needs it: `--help` answers without torch, and so does a path that
is not there.

    bench.py     vlp-fast bench
    compare.py   vlp-fast compare
    convert.py   vlp-fast convert
    data.py      vlp-fast data check, make-world, make-answers, pack, fetch
    demo.py      vlp-fast demo
    doctor.py    vlp-fast doctor
    evaluate.py  vlp-fast evaluate
    export.py    vlp-fast export
    options.py   words to a configuration
    output.py    output that is closed, full or of few characters
    predict.py   vlp-fast predict
    progress.py  how much of long work is done
    recipes.py   vlp-fast recipes
    recorded.py  what commands on a run folder have in common
    replay.py    vlp-fast replay
    retrieve.py  vlp-fast retrieve
    said.py      what a model says, for JSON and for people
    sheet.py     what was found, as a picture
    stored.py    vlp-fast data pack, fetch
    submit.py    vlp-fast submit
    train.py     vlp-fast train
    viz.py       vlp-fast viz
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from pathlib import Path

from vlp_fast import __version__
from vlp_fast.cli.output import (
    complain,
    flush_output,
    forget_output,
    output_failure,
    prepare_output,
    system_line,
)
from vlp_fast.data.printable import printable
from vlp_fast.engine.launch import end_with_launcher, is_first, leave
from vlp_fast.errors import InputError, ToldElsewhere
from vlp_fast.threads import wait_passively

__all__ = ["COMMANDS", "leave", "main", "usage"]

COMMANDS = {
    "train": ("RECIPE --data.root PATH", "pre-train or fine-tune; goes on when called again"),
    "evaluate": ("RUN_DIR", "held-out figures and report.png of a finished or stopped run"),
    "replay": ("RUN_DIR/dump-STEP", "repeat a step that was skipped, and name what is not finite"),
    "submit": ("RUN_DIR --out FILE", "a run's answers to a split, as its server takes them"),
    "retrieve": (
        "RUN_DIR --query TEXT",
        "your own pictures for a text, or texts for a picture",
    ),
    "viz": ("RUN_DIR", "a run as one page of HTML: curves, figures, pictures, settings"),
    "compare": ("RUN_DIR RUN_DIR ...", "several runs: last figures side by side, curves on a page"),
    "predict": ("MODEL IMAGE ...", "what a trained model says about your own pictures"),
    "demo": ("[MODEL ...]", "a page on which a browser asks trained models about pictures"),
    "export": ("MODEL DIR", "a trained model to hand on: weights, words, settings, a card"),
    "recipes": ("", "the recipes, a line each"),
    "data": (
        "check ROOT",
        "audit data before a run; also make-world, make-answers, pack, fetch",
    ),
    "convert": (
        "IN OUT --model NAME",
        "a ResNet, BERT, DETR or SOHO of others under our names",
    ),
    "doctor": ("", "what is installed, which backend runs where, and what to repair"),
    "bench": ("[OPERATOR ...]", "time operators beside what one would use instead (--report DIR)"),
}
"""Of each command: its arguments and what it does. It is the file of that name beside this one."""

MORE = """`vlp-fast COMMAND --help` says more; `vlp-fast train RECIPE --help` lists every setting.
`vlp-fast --version` prints the version.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Returns:
        2 for wrong input and for what the system refuses, 130 after Ctrl-C and 143 after SIGTERM,
        141 where the reader of a run has left, else the command's exit code.
    """
    words = sys.argv[1:] if arguments is None else arguments
    end_with_launcher()
    prepare_output()
    wait_passively()  # no command has imported torch yet
    try:
        code = _run(words)
        flush_output()  # what cannot be written is noticed here, not when Python ends
        return code
    except ToldElsewhere:
        return 2
    except InputError as error:
        complain(printable(error))
        return 2
    except KeyboardInterrupt as stopped:
        way_on = "; the same command goes on from the newest checkpoint, if one was written"
        if is_first():
            complain(f"stopped{way_on if words[:1] == ['train'] else ''}")
        return 128 + getattr(stopped, "number", signal.SIGINT)
    except OSError as error:
        return _refused(error, is_run=words[:1] == ["train"])


def usage() -> str:
    """The commands, a line each."""
    calls = {f"{name} {arguments}".rstrip(): what for name, (arguments, what) in COMMANDS.items()}
    width = max(map(len, calls)) + 2
    lines = "".join(f"  {call:{width}s}{what}\n" for call, what in calls.items())
    return f"usage: vlp-fast COMMAND [ARGUMENTS]\n\n{lines}\n{MORE}"


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(usage(), end="")
        return 0 if words else 2
    if words[0] == "--version":
        print(f"vlp-fast {__version__}")
        return 0
    if words[0] not in COMMANDS:
        raise InputError(f"no command named {words[0]!r}; there are {', '.join(COMMANDS)}")
    _check_here()
    code: int = import_module(f"vlp_fast.cli.{words[0]}").run(words[1:])
    return code


def _check_here() -> None:
    """In a folder that is gone no relative path is anything, and libraries of torch abort."""
    try:
        Path.cwd()
    except OSError:
        raise InputError(
            "the current folder is gone (deleted or unmounted); change to another one"
        ) from None


def _refused(error: OSError, *, is_run: bool) -> int:
    """One line for what the system refused; none where a reader has simply left."""
    failure = output_failure(error)
    if failure is None:
        complain(system_line(error))
        return 2
    forget_output()
    if not isinstance(failure, BrokenPipeError):
        complain(f"stopped: the output cannot be written ({failure.strerror})")
        return 2
    if not is_run:
        return 0
    complain("stopped: nobody reads the output any more")
    return 141
