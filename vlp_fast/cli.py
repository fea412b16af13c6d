"""The command line: `vlp-fast {train, evaluate, recipes, data, doctor}`.

Nothing heavy is imported before a command needs it: `--help` answers without torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from vlp_fast.errors import InputError

USAGE = """usage: vlp-fast COMMAND [ARGUMENTS]

  train RECIPE --data.root PATH   pre-train; resumes by itself when called again
  evaluate RUN_DIR                held-out figures and report.png of a finished or stopped run
  recipes                         the recipes, a line each
  data make-world OUT             draw a data set with known truth (--images N --seed S)
  doctor                          what is installed, which backend runs where, and what to repair

`vlp-fast COMMAND --help` says more; `vlp-fast train RECIPE --help` lists every setting.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code is 2 for wrong input, 130 for Ctrl-C."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if words else 2
    try:
        return _command(words[0])(words[1:])
    except InputError as error:
        print(f"vlp-fast: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "vlp-fast: stopped; the same command goes on from the last checkpoint", file=sys.stderr
        )
        return 130
    except BrokenPipeError:
        return 0


def _command(name: str) -> Callable[[list[str]], int]:
    if name not in COMMANDS:
        raise InputError(f"no command named {name!r}; there are {', '.join(COMMANDS)}")
    return COMMANDS[name]


def _train(words: list[str]) -> int:
    """Parse `RECIPE --section.field value ...` and train."""
    from vlp_fast.recipes import RECIPES, recipe

    if not words or words[0] in ("-h", "--help"):
        print("usage: vlp-fast train RECIPE --data.root PATH [--run-dir DIR] [--steps N]")
        print("       [--resume auto|never] [--section.field value ...]\n")
        print(f"recipes: {', '.join(RECIPES)}")
        return 0 if words else 2
    import tyro

    default = recipe(words[0])
    try:
        run = tyro.cli(
            type(default),
            default=default,
            args=words[1:],
            prog=f"vlp-fast train {words[0]}",
            config=(tyro.conf.AvoidSubcommands,),
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    from vlp_fast.engine.picture import draw_report
    from vlp_fast.engine.trainer import train

    train(run)  # type: ignore[arg-type]
    if run.train.picture:
        draw_report(run)  # type: ignore[arg-type]
    return 0


def _evaluate(words: list[str]) -> int:
    """Evaluate the newest checkpoint of a run folder."""
    if len(words) != 1 or words[0] in ("-h", "--help"):
        print("usage: vlp-fast evaluate RUN_DIR")
        return 0 if words and words[0] in ("-h", "--help") else 2
    from vlp_fast.engine.evaluator import evaluate
    from vlp_fast.engine.picture import draw_report
    from vlp_fast.engine.restore import restore_experiment, restore_run

    run = restore_run(Path(words[0]))
    for name, value in evaluate(restore_experiment(run)).items():
        print(f"{name:28s} {value:.4f}")
    draw_report(run)
    return 0


def _recipes(words: list[str]) -> int:
    """List the recipes with the first line of what each says."""
    from vlp_fast.recipes import RECIPES

    for name, make in RECIPES.items():
        run = make()
        length = f"{run.steps} steps" if run.steps else f"{run.train.epochs:g} epochs"
        images = run.train.batch_size * run.optim.accumulate
        print(f"{name:18s} {length:12s} {images:5d} images a step")
    return 0


def _data(words: list[str]) -> int:
    """Draw the world."""
    import tyro

    if not words or words[0] != "make-world":
        print("usage: vlp-fast data make-world OUT [--images N] [--seed S]")
        return 0 if words and words[0] in ("-h", "--help") else 2

    tyro.cli(
        _make_world,
        args=words[1:],
        prog="vlp-fast data make-world",
        config=(tyro.conf.PositionalRequiredArgs,),
    )
    return 0


def _make_world(out: Path, images: int = 1200, seed: int = 0) -> None:
    """Draw pictures of shapes with captions, boxes and attributes in the official layouts.

    Args:
        out: the folder to make.
        images: how many pictures.
        seed: the same seed draws the same bytes.
    """
    from vlp_fast.data.world.layouts import make_world

    make_world(out, images=images, seed=seed)
    print(f"{images} pictures in {out}; train with --data.root {out}")


def _doctor(words: list[str]) -> int:
    """Report on the installation."""
    if words:
        print("usage: vlp-fast doctor")
        return 0 if words[0] in ("-h", "--help") else 2
    from vlp_fast.doctor import main as diagnose

    return diagnose()


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "recipes": _recipes,
    "data": _data,
    "doctor": _doctor,
}


if __name__ == "__main__":
    sys.exit(main())
