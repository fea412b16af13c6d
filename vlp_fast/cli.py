"""The command line: `vlp-fast {train, evaluate, recipes, data, doctor, bench}`.

Nothing heavy is imported before a command needs it: `--help` answers without torch.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Literal

from vlp_fast.checks import AT_LEAST_ONE, check
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError
from vlp_fast.threads import wait_passively

USAGE = """usage: vlp-fast COMMAND [ARGUMENTS]

  train RECIPE --data.root PATH   pre-train; resumes by itself when called again
  evaluate RUN_DIR                held-out figures and report.png of a finished or stopped run
  recipes                         the recipes, a line each
  data make-world OUT             draw a data set with known truth (--images N --seed S)
  doctor                          what is installed, which backend runs where, and what to repair
  bench [OPERATOR ...]            time operators beside what one would use instead (--report DIR)

`vlp-fast COMMAND --help` says more; `vlp-fast train RECIPE --help` lists every setting.
"""
TRAIN_USAGE = """usage: vlp-fast train RECIPE --data.root PATH [--run-dir DIR] [--steps N]
       [--resume auto|never] [--section.field value ...]

The same command goes on from the newest checkpoint of the run folder (--resume auto); with
--resume never it refuses a folder that holds checkpoints. Sizes of the vocabulary, the classes and
the attributes come from the data and are no options.
"""
MESSAGE = re.compile(r"Error parsing ([\w.-]+): (\w+): received (\w+) = ")
"""What tyro makes of a ValueError of a configuration: its place, its class, its field."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; exit code 2 is wrong input, 130 Ctrl-C, 141 a reader of a run that left."""
    words = sys.argv[1:] if arguments is None else arguments
    wait_passively()  # no command has imported torch yet
    if not words or words[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if words else 2
    try:
        code = _command(words[0])(words[1:])
        sys.stdout.flush()  # a reader that has left is noticed here, not when Python ends
        return code
    except InputError as error:
        print(f"vlp-fast: {printable(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        way_on = "; the same command goes on from the newest checkpoint, if one was written"
        print(f"vlp-fast: stopped{way_on if words[0] == 'train' else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _forget_output()
        if words[0] != "train":
            return 0
        print("vlp-fast: stopped: nobody reads the output any more", file=sys.stderr)
        return 141


def _command(name: str) -> Callable[[list[str]], int]:
    if name not in COMMANDS:
        raise InputError(f"no command named {name!r}; there are {', '.join(COMMANDS)}")
    return COMMANDS[name]


def _train(words: list[str]) -> int:
    """Parse `RECIPE --section.field value ...` and train."""
    from vlp_fast.recipes import RECIPES, recipe

    if not words or words[0] in ("-h", "--help"):
        print(f"{TRAIN_USAGE}\nrecipes: {', '.join(RECIPES)}")
        return 0 if words else 2
    if words[0].startswith("-"):
        raise InputError(
            f"RECIPE comes first: `vlp-fast train RECIPE {words[0]} ...`; `vlp-fast recipes` "
            "lists them"
        )
    import tyro

    default = recipe(words[0])
    run = _parse(
        type(default),
        words[1:],
        f"vlp-fast train {words[0]}",
        default=default,
        config=(tyro.conf.AvoidSubcommands,),
    )
    from vlp_fast.engine.picture import draw_report
    from vlp_fast.engine.restore import restore_experiment
    from vlp_fast.engine.trainer import train

    train(run)
    if run.train.picture:
        draw_report(restore_experiment(run))
    return 0


def _evaluate(words: list[str]) -> int:
    """Evaluate the newest checkpoint of a run folder."""
    import tyro

    if not words:
        print("usage: vlp-fast evaluate RUN_DIR [--split NAME] [--images N]")
        return 2
    config = (tyro.conf.PositionalRequiredArgs,)
    asked = _parse(_Evaluation, words, "vlp-fast evaluate", config=config)
    from vlp_fast.engine.evaluator import evaluate
    from vlp_fast.engine.picture import draw_report
    from vlp_fast.engine.restore import restore_experiment, restore_run

    run = asked.of(restore_run(asked.run_dir))
    experiment = restore_experiment(run, lambda line: print(f"note: {printable(line)}"))
    for name, value in evaluate(experiment, _say_replaced).items():
        print(f"{name:28s} {value:.4f}")
    if asked.split is None:
        draw_report(experiment)
    return 0


@dataclass(frozen=True, kw_only=True)
class _Evaluation:
    """Print held-out figures of a run's newest checkpoint; without --split draw report.png too."""

    run_dir: Path
    """The run's folder."""
    split: str | None = None
    """Another split than the run's own held-out one: train, val or test."""
    images: int | None = None
    """How many images at most, instead of the run's number."""

    def __post_init__(self) -> None:
        check(self, AT_LEAST_ONE, "images")

    def of(self, run: Any) -> Any:
        """The run with this split and number."""
        data, train = run.data, run.train
        if self.split is not None:
            data = replace(data, held_out_split=self.split)
        if self.images is not None:
            train = replace(train, held_out_images=self.images)
        return replace(run, data=data, train=train)


def _say_replaced(problems: Iterable[str]) -> None:
    for problem in problems:
        print(f"replaced: {printable(problem)}")


def _recipes(words: list[str]) -> int:
    """List the recipes with the first line of what each says."""
    from vlp_fast.recipes import RECIPES

    if words and words[0] not in ("-h", "--help"):
        raise InputError(f"`vlp-fast recipes` takes no arguments, received {' '.join(words)}")
    if words:
        print("usage: vlp-fast recipes")
        return 0
    width = max(map(len, RECIPES))
    for name, make in RECIPES.items():
        run = make()
        length = f"{run.steps} steps" if run.steps else f"{run.train.epochs:g} epochs"
        images = run.train.batch_size * run.optim.accumulate
        print(f"{name:{width}s} {length:12s} {images:5d} images a step")
    return 0


def _data(words: list[str]) -> int:
    """Draw the world."""
    import tyro

    if not words or words[0] != "make-world":
        print("usage: vlp-fast data make-world OUT [--images N] [--seed S] [--bounds small]")
        return 0 if words and words[0] in ("-h", "--help") else 2

    prog = "vlp-fast data make-world"
    world = _parse(_World, words[1:], prog, config=(tyro.conf.PositionalRequiredArgs,))
    from vlp_fast.data.world.bounds import BOUNDS
    from vlp_fast.data.world.layouts import make_world

    make_world(world.out, images=world.images, seed=world.seed, bounds=BOUNDS[world.bounds])
    print(f"{world.images} pictures in {world.out}; train with --data.root {world.out}")
    return 0


@dataclass(frozen=True, kw_only=True)
class _World:
    """Draw pictures of shapes with captions, boxes and attributes in the official layouts."""

    out: Path
    """The folder to make."""
    images: int = 1200
    """How many pictures."""
    seed: int = 0
    """The same seed draws the same bytes."""
    bounds: Literal["world", "small"] = "world"
    """World: up to eight objects of eight kinds and colours. Small: pictures of 64 pixels with one
    or two objects of four kinds and colours, for runs of minutes."""


def _doctor(words: list[str]) -> int:
    """Report on the installation."""
    if words:
        print("usage: vlp-fast doctor")
        return 0 if words[0] in ("-h", "--help") else 2
    from vlp_fast.doctor import main as diagnose

    return diagnose()


def _bench(words: list[str]) -> int:
    """Time operators, or turn their rows into tables and pictures."""
    import tyro

    from vlp_fast.benchmarks.bench import Request, bench

    config = (tyro.conf.FlagCreatePairsOff,)
    code: int = bench(_parse(Request, words, "vlp-fast bench", config=config))
    return code


def _parse(kind: type[Any], words: list[str], prog: str, **options: Any) -> Any:
    """Let tyro parse; what it draws a box around becomes one line.

    Raises:
        InputError: for an option that is unknown, has no such value or makes no configuration.
    """
    import tyro

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed = tyro.cli(kind, args=words, prog=prog, **options)
    except SystemExit as exit_:
        if not exit_.code:
            raise
        line = _one_line(complaint.getvalue())
        raise InputError(f"{line}; `{prog} --help` lists every setting") from None
    sys.stderr.write(complaint.getvalue())  # warnings
    return parsed


def _one_line(box: str) -> str:
    """The message in a box, with the options that the part below it suggests."""
    rows = [row.strip("│╰╯ ") for row in COLOUR.sub("", box).splitlines()[1:]]  # without its title
    is_rule = lambda row: not row.strip("─-")
    parts = [list(part) for ruled, part in groupby(rows, is_rule) if not ruled]
    message = " ".join(parts[0] if parts else box.split()).removesuffix(".")
    if message.startswith("Unrecognized"):
        near = [row.split()[0].strip(",") for row in chain(*parts[1:]) if row.startswith("--")]
        return f"{message}; perhaps you meant {' or '.join(near[:3])}" if near else message
    return MESSAGE.sub(_option, message).removeprefix("Error parsing ")


def _option(found: re.Match[str]) -> str:
    """A configuration's field as the option that sets it."""
    place, kind, field = found.groups()
    path = field if place == kind else f"{place}.{field}"
    return f"received --{path.replace('_', '-')} = "


def _forget_output() -> None:
    """Nobody reads: what is still buffered must not fail again when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "recipes": _recipes,
    "data": _data,
    "doctor": _doctor,
    "bench": _bench,
}


if __name__ == "__main__":
    sys.exit(main())
