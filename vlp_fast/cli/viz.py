"""`vlp-fast viz RUN_DIR`: a run as one page of HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import UseAppendAction

from vlp_fast.checks import NOT_NEGATIVE, check
from vlp_fast.cli.recorded import Places, Recorded, TaskPlaces, note, recorded_run
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError

if TYPE_CHECKING:
    from vlp_fast.engine.config import RunConfig
    from vlp_fast.viz.page import Section

USAGE = (
    "usage: vlp-fast viz RUN_DIR [--out FILE.html] [--pictures DIR] [--only NAME ...] "
    "[--images N] [--data.root PATH]"
)


@dataclass(frozen=True, kw_only=True)
class Viz:
    """Write a run as one page of HTML: curves, held-out figures, what the model does, settings.

    The page needs no network and no server; it is one file to open or to send.
    """

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")]
    """The run's folder."""
    out: Path | None = None
    """The file to write; report.html in the run folder if not given."""
    pictures: Path | None = None
    """A folder to write each part of the model's as a PNG, too; made if it is not there."""
    only: UseAppendAction[tuple[str, ...]] = ()
    """A part to show, instead of all that the run has learnt: wrong_answers, boxes, captions,
    retrieval, word_attention, object_attention, dictionary; may be given several times."""
    images: int = 200
    """Held-out samples whose answers are counted, or whose codes are looked at; 0: nothing of the
    model, and neither data nor model are needed."""
    recipe_file: Path | None = None
    """The file of a recipe of your own that the run was trained by; it is run. A file that only a
    run's folder names is not."""
    data: Places = field(default_factory=Places)
    task: TaskPlaces = field(default_factory=TaskPlaces)

    def __post_init__(self) -> None:
        """Raises ValueError for a number that cannot be."""
        check(self, NOT_NEGATIVE, "images")


def run(words: list[str]) -> int:
    """Write the page."""
    if not words:
        print(USAGE)
        return 2
    from vlp_fast.cli.options import parse
    from vlp_fast.data.given_paths import check_output

    asked: Viz = parse(Viz, words, "vlp-fast viz")
    if asked.out:
        check_output(asked.out, "--out")
    out = asked.out or asked.run_dir / "report.html"
    from vlp_fast.viz.report import check_page, write_report

    if asked.recipe_file:
        from vlp_fast.recipes import load_file

        load_file(asked.recipe_file)
    check_page(asked.run_dir, out)
    sections = _of_the_model(asked)
    write_report(asked.run_dir, out, sections)
    print(f"page: {printable(out)}")
    if asked.pictures:
        _draw(asked.pictures, sections)
    return 0


def _of_the_model(asked: Viz) -> Sequence[Section]:
    """What the run's model does, as far as it can be shown; notes say why not."""
    if not asked.images:
        return []
    try:
        run = recorded_run(
            Recorded(run_dir=asked.run_dir, data=asked.data, task=asked.task, images=asked.images)
        )
        from vlp_fast.viz.sections import parts_of

        names = parts_of(run.task.abilities, asked.only)
        return _made(replace(run, data=replace(run.data, cache=False)), names)
    except InputError as error:
        if asked.only:
            raise
        note(f"nothing of the model is on the page ({error})")
        return []


def _made(run: RunConfig, names: Sequence[str]) -> list[Section]:
    """Parts of the page by a model that is loaded once; one that cannot be made is a note."""
    from vlp_fast.engine.restore import restore_experiment
    from vlp_fast.viz.looked import look
    from vlp_fast.viz.sections import PARTS

    looked, sections = look(restore_experiment(run)) if names else None, []
    for name in names:
        assert looked is not None
        try:
            sections.append(PARTS[name].make(looked))
        except InputError as error:
            note(f"no {name} on the page ({error})")
    return sections


def _draw(folder: Path, sections: Sequence[Section]) -> None:
    """Write the sheets of parts.

    Raises:
        InputError: if the folder cannot be made, or a file not be written.
    """
    from vlp_fast.cli.sheet import draw_sheet

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{printable(folder)}: cannot be made ({error.strerror}); give --pictures a folder"
        ) from None
    for sheet in (section.sheet for section in sections if section.sheet):
        draw_sheet(folder / f"{sheet.name}.png", sheet.size, sheet.draw, option="--pictures")
