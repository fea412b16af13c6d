"""`vlp-fast viz RUN_DIR`: a run as one page of HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vlp_fast.checks import NOT_NEGATIVE, check
from vlp_fast.cli.recorded import Places, Recorded, note, recorded_run
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError

if TYPE_CHECKING:
    from vlp_fast.viz.page import Section

USAGE = "usage: vlp-fast viz RUN_DIR [--out FILE.html] [--images N] [--data.root PATH]"


@dataclass(frozen=True, kw_only=True)
class Viz:
    """Write a run as one page of HTML: curves, held-out figures, pictures, settings.

    The page needs no network and no server; it is one file to open or to send.
    """

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")]
    """The run's folder."""
    out: Path | None = None
    """The file to write; report.html in the run folder if not given."""
    images: int = 200
    """Held-out pictures whose codes are looked at (SOHO's pre-training); 0: none, and neither data
    nor model are needed."""
    data: Places = field(default_factory=Places)

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
    from vlp_fast.viz.report import write_report

    out = asked.out or asked.run_dir / "report.html"
    write_report(asked.run_dir, out, _of_the_model(asked))
    print(f"page: {printable(out)}")
    return 0


def _of_the_model(asked: Viz) -> Sequence[Section]:
    """What the run's model does, where that is something to see; else a note says why not."""
    if not asked.images:
        return []
    try:
        run = recorded_run(Recorded(run_dir=asked.run_dir, data=asked.data, images=asked.images))
        if "codes" not in run.task.abilities:
            return []
        from vlp_fast.engine.restore import restore_experiment
        from vlp_fast.inference.predictor import load
        from vlp_fast.viz.dictionary import codes_of, dictionary_section

        held_out = restore_experiment(replace(run, data=replace(run.data, cache=False))).held_out()
        records = [held_out.task.held_out.records[index] for index in held_out.indices]
        model = load(asked.run_dir, device=run.train.device)
        codes = codes_of(model, records, run.model.num_codes)  # type: ignore[attr-defined]
        return [dictionary_section(codes)]
    except InputError as error:
        note(f"no visual dictionary on the page ({error})")
        return []
