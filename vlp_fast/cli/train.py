"""`vlp-fast train RECIPE --section.field value ...`: pre-train or fine-tune."""

from __future__ import annotations

from dataclasses import replace
from textwrap import fill
from typing import Any

from vlp_fast.cli.output import complain
from vlp_fast.engine.launch import check_launched, check_shares, is_first, is_launched, launch
from vlp_fast.errors import InputError, ToldElsewhere
from vlp_fast.recipes import RECIPES, recipe

USAGE = """usage: vlp-fast train RECIPE --data.root PATH [--data.root PATH ...] [--init WEIGHTS ...]
       [--run-dir DIR] [--steps N] [--resume auto|never] [--dry-run] [--section.field value ...]

RECIPE is one of those below, or FILE.py:FUNCTION for one of your own. A new run starts from the
weights that --init gives (an earlier run, a ResNet, a BERT, a DETR): recipes vqa_*, nlvr2_* and
ve_* fine-tune what others have pre-trained. `vlp-fast train RECIPE --help` lists every setting.
The same command goes on from the newest checkpoint of the run folder (--resume auto); with
--resume never it refuses a folder that holds checkpoints. --dry-run reads the data, builds the
model, says what the run would be, and trains nothing. Sizes of the vocabulary, the classes and
the attributes come from the data and are no options.
"""


def run(words: list[str]) -> int:
    """Train, and draw report.png."""
    if not words or words[0] in ("-h", "--help"):
        print(f"{USAGE}\n{fill('recipes: ' + ', '.join(RECIPES), 100)}")
        return 0 if words else 2
    if words[0].startswith("-"):
        raise InputError(
            f"RECIPE comes first: `vlp-fast train RECIPE {words[0]} ...`; `vlp-fast recipes` "
            "lists them"
        )
    is_dry = "--dry-run" in words
    words = [word for word in words if word != "--dry-run"]
    asked = _asked_once(words)
    if is_first():
        check_launched(asked.train.processes)
        _look_first(asked)
    if is_dry:
        return _dry_run(asked, words[0])
    if asked.train.processes > 1 and not is_launched():
        check_shares(asked.train.shards, asked.train.processes)
        return launch(asked.train.processes, ["train", *words], complain)
    from vlp_fast.engine.picture import try_report
    from vlp_fast.engine.restore import restore_experiment
    from vlp_fast.engine.trainer import train

    train(asked)
    if asked.train.picture and is_first():
        try_report(lambda: restore_experiment(asked))
    return 0


def _asked_once(words: list[str]) -> Any:
    """What is wrong with words that all processes were given is told by the first."""
    try:
        return _asked(words)
    except InputError as error:
        raise error if is_first() else ToldElsewhere(str(error)) from None


def _dry_run(asked: Any, name: str) -> int:
    if not is_first():  # of those that torchrun has started
        return 0
    from vlp_fast.data.printable import printable
    from vlp_fast.engine.dry_run import dry_run

    check_shares(asked.train.shards, asked.train.processes)
    for line in dry_run(asked, recipe(name)):
        print(printable(line))
    return 0


def _asked(words: list[str]) -> Any:
    import tyro

    from vlp_fast.cli.options import parse

    default = recipe(words[0])
    if any(word.split("=")[0] == "--data.root" for word in words):
        # A recipe of one's own may have a root: the option replaces it, as every option does.
        default = replace(default, data=replace(default.data, root=()))
    config = (tyro.conf.AvoidSubcommands,)
    return parse(
        type(default), words[1:], f"vlp-fast train {words[0]}", default=default, config=config
    )


def _look_first(asked: Any) -> None:
    """What takes no time to find out is told before torch is imported."""
    from vlp_fast.cli.recorded import look_first
    from vlp_fast.data.given_paths import check_file
    from vlp_fast.engine.folder_lock import FolderLock
    from vlp_fast.engine.recorded_run import check_not_begun, check_same_recipe
    from vlp_fast.engine.tensorboard import check_tensorboard
    from vlp_fast.weights.published import check_weights

    with FolderLock(asked.directory):
        check_not_begun(asked)
        is_begun = any(asked.directory.glob("checkpoint-*"))
    if is_begun and asked.resume == "auto":
        check_same_recipe(asked)
    look_first(asked)
    if asked.train.tensorboard:
        check_tensorboard()
    if asked.data.exclude:
        check_file(asked.data.exclude, "--data.exclude", "a file of COCO's ids")
    for option in ("vocabulary", "objects_vocabulary", "attributes_vocabulary"):
        if path := getattr(asked.data, option):
            check_file(path, f"--data.{option.replace('_', '-')}", "a file of one name a line")
    for path in () if is_begun else asked.init:
        check_weights(path, "--init")
