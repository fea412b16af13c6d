"""`vlp-fast retrieve RUN_DIR`: your own pictures for a text, or texts for a picture."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import UseAppendAction

from vlp_fast.checks import AT_LEAST_ONE, check
from vlp_fast.cli.progress import Progress
from vlp_fast.cli.recorded import note
from vlp_fast.cli.sheet import draw_sheet
from vlp_fast.data.given_paths import check_file, check_output, check_root
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError

if TYPE_CHECKING:
    from vlp_fast.tasks.retrieval.search import Search

USAGE = """usage: vlp-fast retrieve RUN_DIR --query TEXT [--query TEXT ...] --images DIR
       vlp-fast retrieve RUN_DIR --image FILE --texts FILE
       [--top N] [--out PNG]"""
DRAWN = 20
"""Queries, and pictures or texts of each, on a sheet: more are printed, and take long to draw."""


@dataclass(frozen=True, kw_only=True)
class Retrieve:
    """Search your own pictures by a text, or texts by a picture, with a run that learnt to match.

    Every pair is scored. A score is the log odds that text and picture belong together; the share
    behind it is the same as a probability.
    """

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")]
    """A run of retrieval, or of pre-training."""
    query: UseAppendAction[tuple[str, ...]] = ()
    """What to look for; may be given more than once."""
    images: Path | None = None
    """A folder of pictures; those in folders below it count, too."""
    image: Path | None = None
    """A picture to find texts for."""
    texts: Path | None = None
    """A file of texts, one a line."""
    top: int = 5
    """How many to show."""
    recipe_file: Path | None = None
    """The file of a recipe of your own that the run was trained by; it is run. A file that only a
    run's folder names is not."""
    out: Path | None = None
    """The sheet to draw, a PNG; retrieved.png in the run folder if not given."""

    def __post_init__(self) -> None:
        """Raises ValueError for a number that cannot be."""
        check(self, AT_LEAST_ONE, "top")


def run(words: list[str]) -> int:
    """Score, print and draw."""
    if not words:
        print(USAGE)
        return 2
    from vlp_fast.cli.options import parse

    asked: Retrieve = parse(Retrieve, words, "vlp-fast retrieve")
    texts = _texts(asked)
    search = _search(asked)
    found = _pictures_of if asked.images else _texts_of
    sheet = found(asked, search, texts)
    draw_sheet(asked.out or asked.run_dir / "retrieved.png", *sheet)
    return 0


def _texts(asked: Retrieve) -> list[str]:
    """The texts that are asked for; what takes no time is looked at first."""
    given = (bool(asked.query), bool(asked.images), bool(asked.image), bool(asked.texts))
    if given not in ((True, True, False, False), (False, False, True, True)):
        raise InputError(
            "give --query TEXT with --images DIR, to find pictures, or --image FILE with --texts "
            "FILE, to find texts"
        )
    if asked.out:
        check_output(asked.out, "--out")
    if asked.images:
        check_root(asked.images, "--images", "of the pictures to search")
        for text in asked.query:
            if not text.strip():
                raise InputError("--query: received an empty text; say what to look for")
        return [" ".join(text.split()) for text in asked.query]
    assert asked.image is not None
    assert asked.texts is not None
    check_file(asked.image, "--image", "a picture")
    check_file(asked.texts, "--texts", "a file of one text a line")
    return _lines(asked.texts)


def _lines(path: Path) -> list[str]:
    """The texts of a file, each once, without blank lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(
            f"{printable(path)}: is not UTF-8 text; --texts takes a file of one text a line"
        ) from None
    lines = [" ".join(line.split()) for line in text.split("\n")]
    found = list(dict.fromkeys(line for line in lines if line))
    if not found:
        raise InputError(f"{printable(path)}: holds no text; --texts takes one a line")
    return found


def _search(asked: Retrieve) -> Search:
    from vlp_fast import recipes
    from vlp_fast.tasks.pretraining.config import PretrainingConfig
    from vlp_fast.tasks.retrieval.config import RetrievalConfig

    recorded = recipes.restore_trained(asked.run_dir, asked.recipe_file)
    if not isinstance(recorded.task, RetrievalConfig | PretrainingConfig):
        raise InputError(
            f"{printable(asked.run_dir)}: is a run of {recorded.name}, which has not learnt to "
            "match texts and pictures; give one of retrieval or of pre-training"
        )
    from vlp_fast.engine.precision import choose_precision
    from vlp_fast.tasks.retrieval.scoring import Scorer
    from vlp_fast.tasks.retrieval.search import Search
    from vlp_fast.weights.trained import trained_model

    model, tokenizer = trained_model(recorded.model, asked.run_dir)
    model.canvas_multiple = recorded.data.canvas_multiple
    runtime = choose_precision(recorded.train)
    # Pre-training has matched texts with codes.
    codes = getattr(recorded.task, "codes", True)
    rows = getattr(recorded.task, "rows_at_once", RetrievalConfig.rows_at_once)
    scorer = Scorer(model=model.to(runtime.device), runtime=runtime, codes=codes, rows=rows)
    return Search(scorer=scorer, tokenizer=tokenizer, data=recorded.data)


def _pictures_of(
    asked: Retrieve, search: Search, queries: list[str]
) -> tuple[tuple[float, float], Callable[[Any], None]]:
    """Print pictures for each text; returns the size of the sheet, and what draws it."""
    from vlp_fast.tasks.retrieval.contact_sheet import Found, draw_found
    from vlp_fast.tasks.retrieval.gallery import no_picture, read_gallery
    from vlp_fast.tasks.retrieval.search import best

    assert asked.images is not None
    texts, remarks = search.encoded(queries)
    pictures, broken = read_gallery(asked.images)
    scores, more_broken = search.scores(pictures, texts, Progress("pictures"))
    broken += more_broken
    if len(more_broken) == len(pictures):
        raise no_picture(asked.images, broken)
    for line in (*remarks, *(f"passed over: {problem}" for problem in broken)):
        note(line)
    loader = search.loader(pictures)
    sheet: list[Found] = []
    names = [os.path.relpath(str(r.path), asked.images) for r in pictures.records]
    for query, of_query in zip(queries, scores.T, strict=True):
        chosen, more = best(of_query, asked.top)
        _say(query, [(names[n], of_query[n]) for n in chosen], more)
        if len(sheet) < DRAWN:
            captions = [f"{_shown(of_query[n])} {names[n]}" for n in chosen[:DRAWN]]
            shown = [loader.show(int(n), 0, 0).pixels for n in chosen[:DRAWN]]
            sheet.append(Found(query=query, pictures=shown, captions=captions))
    if max(len(queries), len(chosen)) > DRAWN:
        note(f"the sheet has the first {DRAWN} of each")
    columns = max(len(one.pictures) for one in sheet)
    return (3.2 * columns, 3.8 * len(sheet)), lambda figure: draw_found(figure, sheet)


def _texts_of(
    asked: Retrieve, search: Search, lines: list[str]
) -> tuple[tuple[float, float], Callable[[Any], None]]:
    """Print texts for the picture; returns the size of the sheet, and what draws it."""
    from vlp_fast.tasks.retrieval.contact_sheet import draw_texts
    from vlp_fast.tasks.retrieval.gallery import gallery_of, picture_record
    from vlp_fast.tasks.retrieval.search import best

    assert asked.image is not None
    texts, remarks = search.encoded(lines)
    pictures = gallery_of([picture_record(asked.image, 0)], str(asked.image))
    (picture,) = (search.loader(pictures).show(0, 0, 0).pixels,)
    scores, _ = search.scores(pictures, texts, Progress("pictures"))
    for line in remarks:
        note(line)
    chosen, more = best(scores[0], asked.top)
    _say(str(asked.image), [(lines[n], scores[0, n]) for n in chosen], more)
    told = [f"{_shown(scores[0, n])} {lines[n]}" for n in chosen[:DRAWN]]
    if len(chosen) > DRAWN:
        note(f"the sheet has the first {DRAWN}")
    return (10.0, max(4.0, 0.5 * len(told))), lambda figure: draw_texts(figure, picture, told)


def _say(query: str, found: Sequence[tuple[str, float]], more: int) -> None:
    print(f"{printable(query)}:")
    for place, (name, score) in enumerate(found, start=1):
        print(f"{place:4d}  {_shown(score)}  {printable(name)}")
    if more:
        note(f"{more:,} more have the score of the last one")


def _shown(score: float) -> str:
    """Log odds, and the probability that they are of."""
    probability = 1 / (1 + math.exp(-max(min(float(score), 700.0), -700.0)))
    return f"{score:+8.3f}  {probability:.4f}"
