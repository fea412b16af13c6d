"""The table that a person reads, and the same as json for a program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import groupby
from typing import Any

from vlp_fast.data.audit import Audit
from vlp_fast.data.audit.counts import QUANTILES, Counts
from vlp_fast.data.audit.finding import LEVELS, Finding
from vlp_fast.data.printable import printable

EXAMPLES = 3
"""Names a line of the table has."""
ENDS = 3
"""Classes shown of those with the most boxes, and of those with the fewest."""
WIDEST = 100
"""Characters of an example."""


def lines(audit: Audit) -> Iterator[str]:
    """The table, a line at a time: what there is, what is wrong, the verdict."""
    return map(printable, _lines(audit))


def _lines(audit: Audit) -> Iterator[str]:
    yield from _sizes(audit.counts)
    for counts in audit.counts:
        yield from _shares(counts)
    yield ""
    yield from _findings(audit)
    known = f", {audit.remembered:,} of them known from before" if audit.remembered else ""
    yield f"{audit.images:,} image files looked at in {audit.seconds:.1f} s{known}"
    yield from (f"note: {note}" for note in audit.notes)
    yield _verdict(audit)


def as_json(audit: Audit) -> dict[str, Any]:
    """Everything that was found, with all names."""
    return {
        "is_clean": audit.is_clean,
        "findings": [asdict(finding) for finding in audit.findings],
        "splits": [asdict(counts) for counts in audit.counts],
        "quantiles_of_words": QUANTILES,
        "images": audit.images,
        "remembered": audit.remembered,
        "seconds": round(audit.seconds, 3),
        "notes": audit.notes,
    }


def _sizes(all_counts: tuple[Counts, ...]) -> Iterator[str]:
    head = ("split", "images", "samples", "texts", "an image", "boxes", "words: median, 99 %, most")
    rows = [head]
    for counts in all_counts:
        low, mean, high = counts.texts_per_image
        words = dict(zip(QUANTILES, counts.words, strict=True))
        rows.append(
            (
                counts.title,
                f"{counts.images:,}",
                f"{counts.samples:,}" if counts.samples else "",
                f"{counts.texts:,}",
                f"{low:.0f} to {high:.0f}, {mean:.1f}" if counts.texts else "",
                f"{counts.boxes:,}" if counts.boxes else "",
                f"{words[0.5]:.0f}, {words[0.99]:.0f}, {words[1.0]:.0f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join((first.strip().ljust(widths[0]), *rest)).rstrip()


def _shares(counts: Counts) -> Iterator[str]:
    for kind, by_name in (("classes", counts.classes), ("attributes", counts.attributes)):
        if by_name and counts.boxes:
            yield f"{counts.title}: {len(by_name):,} {kind}: {_ends(by_name)}"


def _ends(by_name: Mapping[str, int]) -> str:
    """Those with the most and with the fewest; the mapping has the most first."""
    shown = [f"{name} {count:,}" for name, count in by_name.items()]
    if len(shown) <= 2 * ENDS:
        return ", ".join(shown)
    return f"most {', '.join(shown[:ENDS])}; fewest {', '.join(shown[-ENDS:])}"


def _findings(audit: Audit) -> Iterator[str]:
    width = max((len(f"{finding.count:,}") for finding in audit.findings), default=0) + 2
    for level, findings in groupby(audit.findings, key=lambda finding: finding.level):
        yield f"{level.upper()}: {LEVELS[level]}"
        for finding in findings:
            yield from _finding(finding, width)
    if audit.findings:
        yield ""


def _finding(finding: Finding, width: int) -> Iterator[str]:
    indent = " " * (width + 2)
    yield f"{finding.count:>{width},}  {finding.what}"
    yield f"{indent}in {finding.where}"
    if finding.examples:
        yield f"{indent}e.g. {_examples(finding)}"
    yield f"{indent}do: {finding.remedy}"


def _examples(finding: Finding) -> str:
    shown = [
        name if len(name) <= WIDEST else f"{name[: WIDEST - 3]}..."
        for name in finding.examples[:EXAMPLES]
    ]
    return ", ".join(shown) + (", ..." if finding.count > len(shown) else "")


def _verdict(audit: Audit) -> str:
    bad = [finding for finding in audit.findings if finding.spoils_training]
    if not bad:
        return "ready: a run refuses nothing and replaces no picture"
    refused = sum(finding.level == "refused" for finding in bad)
    replaced = sum(finding.count for finding in bad if finding.level == "replaced")
    parts = [f"a run is refused ({refused} above)"] * bool(refused)
    parts += [f"{replaced:,} pictures are replaced"] * bool(replaced)
    return f"not ready: {' and '.join(parts)}"
