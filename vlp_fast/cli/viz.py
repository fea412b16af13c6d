"""`vlp-fast viz RUN_DIR`: a run as one page of HTML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vlp_fast.data.printable import printable

USAGE = "usage: vlp-fast viz RUN_DIR [--out FILE.html]"


@dataclass(frozen=True, kw_only=True)
class Viz:
    """Write a run as one page of HTML: curves, held-out figures, pictures, settings.

    The page needs no network and no server; it is one file to open or to send.
    """

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")]
    """The run's folder."""
    out: Path | None = None
    """The file to write; report.html in the run folder if not given."""


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
    write_report(asked.run_dir, out)
    print(f"page: {printable(out)}")
    return 0
