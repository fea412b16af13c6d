"""`vlp-fast export MODEL DIR`: a trained model to hand on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vlp_fast.checks import AT_LEAST_ONE, at_least, check
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError
from vlp_fast.inference.places import model_folder

USAGE = """usage: vlp-fast export MODEL DIR [--format fp32|fp16|bf16] [--licence TEXT]
       [--use TEXT] [--push NAME/REPO [--private]] [--program HEIGHT WIDTH [--tokens N]]"""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a folder with a run's model: weights, settings, words and a card.

    `vlp_fast.load(DIR)` and `vlp-fast predict DIR` take it, without the run and its data.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run's folder, whose newest checkpoint is taken, averaged if it was; or whatever
    `vlp-fast predict` takes."""
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """The folder to write, which is not there yet."""
    format: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Of the weights on disk."""
    licence: str = ""
    """Of the data that the model learnt from, for the card."""
    use: str = ""
    """That the model is meant for, for the card."""
    program: tuple[int, int] | None = None
    """Height and width of pictures in pixels: write DIR/program.pt2, too, by `torch.export`, for
    pictures of this size and texts of --tokens, [CLS] and [SEP] included."""
    tokens: int = 16
    """Of the texts of the program."""
    recipe_file: Path | None = None
    """The file of a recipe of your own that the run was trained by; it is run. A file that only a
    run's folder names is not."""
    push: str = ""
    """Upload the folder to this repository of Hugging Face's hub, too (extra `hub`)."""
    private: bool = False
    """A repository that is made for it is private; to one that is public nothing is uploaded."""

    def __post_init__(self) -> None:
        """Raises ValueError for sizes that cannot be."""
        check(self, AT_LEAST_ONE, "program")
        check(self, at_least(2), "tokens")


def run(words: list[str]) -> int:
    """Export, and say what is there."""
    if not words:
        print(USAGE)
        return 2
    from vlp_fast.cli.options import parse

    asked: Export = parse(Export, words, "vlp-fast export")
    if os.path.lexists(asked.folder):
        raise InputError(
            f"{printable(asked.folder)}: is there already; delete it, or give another DIR"
        )
    if asked.push:
        from vlp_fast.inference.hub import check_push

        check_push(asked.push)
    elif asked.private:
        raise InputError("--private: nothing is uploaded; give --push NAME/REPO, too")
    if asked.recipe_file:
        from vlp_fast.recipes import load_file

        load_file(asked.recipe_file)
    source = model_folder(asked.model)
    from vlp_fast.inference.exported import export

    if asked.program:
        _check_program(source, asked.tokens)
    notes = {name: text for name in ("licence", "use") if (text := getattr(asked, name))}
    about = export(source, asked.folder, format=asked.format, notes=notes)
    can = ", ".join(about.task.abilities) or "nothing that can be asked"
    if asked.program:
        _write_program(asked)
    size = sum(file.stat().st_size for file in asked.folder.iterdir()) / 1e6
    print(f"written: {printable(asked.folder)}, {about.recipe}, {size:.1f} MB: {can}")
    if asked.push:
        from vlp_fast.inference.hub import push

        print(f"uploaded: {push(asked.folder, asked.push, private=asked.private)}")
    return 0


def _check_program(source: Path, tokens: int) -> None:
    """What can be no program is told before anything is written."""
    from vlp_fast.inference.description import read_description
    from vlp_fast.inference.program import check_program

    try:
        check_program(read_description(source), tokens)
    except ValueError as error:
        raise InputError(f"--tokens: {error}") from None


def _write_program(asked: Export) -> None:
    from vlp_fast.inference.description import PROGRAM
    from vlp_fast.inference.program import export_program

    assert asked.program is not None
    program = export_program(asked.folder, asked.folder / PROGRAM, asked.program, asked.tokens)
    height, width = program.canvas
    print(
        f"program: images ({program.pictures}, 3, {height}, {width}) uint8, text_ids "
        f"({asked.tokens},) int64"
    )
