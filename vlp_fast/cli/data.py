"""`vlp-fast data`: check data sets, make a world with known truth, or the answers of VQA."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import UseAppendAction

from vlp_fast.checks import AT_LEAST_ONE, NOT_NEGATIVE, check
from vlp_fast.cli.progress import Progress
from vlp_fast.data.config import DataConfig, Layout
from vlp_fast.errors import InputError

USAGE = """usage: vlp-fast data make-world OUT [--images N] [--seed S] [--bounds small]
       [--captions descriptions]
       vlp-fast data make-answers ROOT OUT [--split SPLIT] [--fewest N]
       vlp-fast data pack SRC OUT [--shard-mib N] [--workers N]
       vlp-fast data fetch NAME OUT [--place URL]
       vlp-fast data check ROOT [ROOT ...] [--json FILE] [--workers N] [--cache FILE]"""


def run(words: list[str]) -> int:
    """Do what the first word says."""
    if not words or words[0] not in COMMANDS:
        print(USAGE)
        return 0 if words and words[0] in ("-h", "--help") else 2
    return COMMANDS[words[0]](words[1:])


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
    captions: Literal["statements", "descriptions"] = "statements"
    """Statements: six a picture, and files of all tasks. Descriptions: one a picture, of all that
    is in it, for retrieval; a sixth of the pictures each are for validation and testing, and their
    descriptions tell them apart."""


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


@dataclass(frozen=True, kw_only=True)
class Check:
    """Look at data sets as a whole before a GPU is booked.

    Every image file is decoded, every annotation read, splits are compared with each other and with
    those of the other folders. Told is, the worst first: what a run would refuse, where it would
    show another picture, what is measured on and trained on, what reading leaves out. The exit code
    is 1 if a run would refuse something or show another picture, else 0.
    """

    roots: tuple[Path, ...]
    """Folders of data sets, as for --data.root: captions and boxes, VQA, NLVR2, SNLI-VE."""
    json: Path | None = None
    """A file to write everything to, with all names."""
    workers: int | None = None
    """Processes that decode; 0: this one. None: as many as there are cores."""
    cache: Path | None = None
    """The file that remembers good image files, by path, size and time of change, for the next
    check or the rest of this one. None: .vlp_fast_check.json in each folder."""
    layout: Layout = "auto"
    """Of captions and boxes, as --data.layout."""
    split: UseAppendAction[tuple[str, ...]] = ()
    """Of captions and boxes, the splits to look at: train, val, test. None: all; train and val have
    to be there, as a run wants them unless it is told otherwise."""
    karpathy_file: Path | None = None
    """As --data.karpathy-file."""
    objects_vocabulary: Path | None = None
    """As --data.objects-vocabulary."""
    attributes_vocabulary: Path | None = None
    """As --data.attributes-vocabulary."""
    max_pixels: int = DataConfig.max_pixels
    """As --data.max-pixels."""
    max_text_length: int = DataConfig.max_text_length
    """As --data.max-text-length. Words and signs are counted, of which tokens are at least as many.
    """

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that cannot be."""
        check(self, NOT_NEGATIVE, "workers")
        check(self, AT_LEAST_ONE, "max_pixels", "max_text_length")


def _make_world(words: list[str]) -> int:
    world: World = _parsed(World, words, "make-world")
    from vlp_fast.data.world.bounds import BOUNDS
    from vlp_fast.data.world.layouts import make_world

    make_world(
        world.out,
        images=world.images,
        seed=world.seed,
        bounds=BOUNDS[world.bounds],
        captions=world.captions,
    )
    print(f"{world.images} pictures in {world.out}; train with --data.root {world.out}")
    return 0


def _make_answers(words: list[str]) -> int:
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
    return 0


def _check(words: list[str]) -> int:
    asked: Check = _parsed(Check, words, "check")
    from vlp_fast.data.given_paths import check_output, check_roots

    if not asked.roots:
        raise InputError("no folder is given; `vlp-fast data check ROOT` looks at a data set")
    roots = check_roots(DataConfig(root=asked.roots))
    for path, option in ((asked.json, "--json"), (asked.cache, "--cache")):
        if path:
            check_output(path, option)
    from vlp_fast.data.audit import audit
    from vlp_fast.data.audit.report import as_json, lines
    from vlp_fast.data.audit.splits import SplitOptions
    from vlp_fast.whole_file import write_json

    found = audit(
        roots,
        SplitOptions(
            layout=asked.layout,
            splits=asked.split,
            karpathy_file=asked.karpathy_file,
            objects_vocabulary=asked.objects_vocabulary,
            attributes_vocabulary=asked.attributes_vocabulary,
        ),
        max_pixels=asked.max_pixels,
        max_text_length=asked.max_text_length,
        workers=_cores() if asked.workers is None else asked.workers,
        cache=asked.cache,
        progress=Progress("image files"),
    )
    for line in lines(found):
        print(line)
    if asked.json:
        write_json(asked.json, as_json(found))
    return 0 if found.is_clean else 1


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pack(words: list[str]) -> int:
    from vlp_fast.cli.stored import Pack, pack

    pack(_parsed(Pack, words, "pack"))
    return 0


def _fetch(words: list[str]) -> int:
    from vlp_fast.cli.stored import Fetch, fetch

    fetch(_parsed(Fetch, words, "fetch"))
    return 0


def _parsed(config: type[Any], words: list[str], command: str) -> Any:
    from vlp_fast.cli.options import parse

    positional = (tyro.conf.PositionalRequiredArgs,)
    return parse(config, words, f"vlp-fast data {command}", config=positional)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "check": _check,
    "make-world": _make_world,
    "make-answers": _make_answers,
    "pack": _pack,
    "fetch": _fetch,
}
"""By its first word, what each does."""
