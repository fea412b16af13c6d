"""`vlp-fast data`: make a world with known truth, or the answers that VQA is a choice among."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from vlp_fast.checks import AT_LEAST_ONE, check

USAGE = """usage: vlp-fast data make-world OUT [--images N] [--seed S] [--bounds small]
       vlp-fast data make-answers ROOT OUT [--split SPLIT] [--fewest N]
       vlp-fast data pack SRC OUT [--shard-mib N] [--workers N]
       vlp-fast data fetch NAME OUT [--place URL]"""


def run(words: list[str]) -> int:
    """Make what the first word says."""
    if not words or words[0] not in COMMANDS:
        print(USAGE)
        return 0 if words and words[0] in ("-h", "--help") else 2
    COMMANDS[words[0]](words[1:])
    return 0


@dataclass(frozen=True, kw_only=True)
class World:
    """Draw pictures of shapes with captions, boxes and attributes in the official layouts."""

    out: Annotated[Path, tyro.conf.arg(metavar="OUT")]
    """The folder to make."""
    images: int = 1200
    """How many pictures."""
    seed: int = 0
    """The same seed draws the same bytes."""
    bounds: Literal["world", "small"] = "world"
    """World: up to eight objects of eight kinds and colours. Small: pictures of 64 pixels with one
    or two objects of four kinds and colours, for runs of minutes."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Choose the answers of VQA: those that are the majority's of enough questions."""

    root: Annotated[Path, tyro.conf.arg(metavar="ROOT")]
    """The folder of VQA's questions and annotations; pictures are not looked for."""
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")]
    """The json file to write, a list of answers. Keep it: another build may order them otherwise.
    """
    split: Literal["train", "train+val", "train+nominival"] = "train+val"
    """Questions to look at."""
    fewest: int = 9
    """Questions that must share an answer; 9 makes the usual 3,129 of train+val."""

    def __post_init__(self) -> None:
        """Raises ValueError for answers that no question has to have."""
        check(self, AT_LEAST_ONE, "fewest")


def _make_world(words: list[str]) -> None:
    world: World = _parsed(World, words, "make-world")
    from vlp_fast.data.world.bounds import BOUNDS
    from vlp_fast.data.world.layouts import make_world

    make_world(world.out, images=world.images, seed=world.seed, bounds=BOUNDS[world.bounds])
    print(f"{world.images} pictures in {world.out}; train with --data.root {world.out}")


def _make_answers(words: list[str]) -> None:
    wanted: Answers = _parsed(Answers, words, "make-answers")
    from vlp_fast.data.answers import build_answer_map, write_answer_map
    from vlp_fast.data.given_paths import check_output
    from vlp_fast.data.printable import printable
    from vlp_fast.data.sources.vqa import read_questions

    check_output(wanted.out, "OUT", is_kept=True)
    questions, notes = read_questions(wanted.root, wanted.split)
    answers = build_answer_map(questions, fewest=wanted.fewest)
    write_answer_map(wanted.out, answers)
    for note in notes:
        print(note)
    print(
        f"{len(answers):,} answers to {len(questions):,} questions of {wanted.split} in "
        f"{printable(wanted.out)}"
    )


def _pack(words: list[str]) -> None:
    from vlp_fast.cli.stored import Pack, pack

    pack(_parsed(Pack, words, "pack"))


def _fetch(words: list[str]) -> None:
    from vlp_fast.cli.stored import Fetch, fetch

    fetch(_parsed(Fetch, words, "fetch"))


def _parsed(config: type[Any], words: list[str], command: str) -> Any:
    from vlp_fast.cli.options import parse

    positional = (tyro.conf.PositionalRequiredArgs,)
    return parse(config, words, f"vlp-fast data {command}", config=positional)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "make-world": _make_world,
    "make-answers": _make_answers,
    "pack": _pack,
    "fetch": _fetch,
}
"""By its first word, what each makes."""
