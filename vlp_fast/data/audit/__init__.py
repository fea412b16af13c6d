"""A data set looked at as a whole before a GPU is booked: what a run would refuse or replace.

annotations.py  what records say: texts, boxes, classes, answers
cache.py        what is known of image files from an earlier check
counts.py       sizes, classes, attributes, lengths of texts
finding.py      one line of the table
image_files.py  every image file decoded, by several processes
leakage.py      held-out pictures that are trained on, pictures that are there twice
pictures.py     what is wrong with image files, beside their records
report.py       the table, and the same as json
splits.py       which data sets a folder holds
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlp_fast.data.audit.annotations import annotation_findings
from vlp_fast.data.audit.cache import LookCache
from vlp_fast.data.audit.counts import Counts, count
from vlp_fast.data.audit.finding import Finding
from vlp_fast.data.audit.image_files import look_at_all
from vlp_fast.data.audit.leakage import duplicate_findings, leak_findings
from vlp_fast.data.audit.pictures import picture_findings
from vlp_fast.data.audit.splits import Split, SplitOptions, read_folders


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What a check found.

    Attributes:
        findings: the worst first.
        splits: what the folders hold, and what could not be read.
        counts: of each split that could be read, in the same order.
        images: image files that were looked at.
        remembered: those of them that were known from an earlier check.
        seconds: how long it took.
        notes: lines about the check itself.
    """

    findings: tuple[Finding, ...]
    splits: tuple[Split, ...]
    counts: tuple[Counts, ...]
    images: int
    remembered: int
    seconds: float
    notes: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether training would neither refuse the data nor replace an image of it."""
        return not any(finding.spoils_training for finding in self.findings)


def audit(
    roots: Sequence[Path],
    options: SplitOptions,
    *,
    max_pixels: int,
    max_text_length: int,
    workers: int,
    cache: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Audit:
    """Check the data sets of some folders, and against each other.

    Args:
        roots: the folders.
        options: how to read them.
        max_pixels: image files that declare more are not decoded.
        max_text_length: tokens of a text that a model reads, [CLS] and [SEP] included.
        workers: processes that decode; 0: this one.
        cache: what is known of image files is kept there; None: in a file in each folder.
        progress: `progress(done, total)` is called now and then while images are looked at.

    Raises:
        InputError: if a folder is not there or holds no data set.
    """
    began = time.monotonic()
    splits = read_folders(roots, options)
    known = LookCache(roots, cache)
    looks = look_at_all(
        [path for split in splits if split.dataset for path in split.dataset.table.picture_files()],
        known,
        max_pixels=max_pixels,
        workers=workers,
        progress=progress,
    )
    findings = [
        *annotation_findings(splits, max_text_length),
        *picture_findings(splits, looks),
        *leak_findings(splits, looks),
        *duplicate_findings(splits, looks),
    ]
    return Audit(
        findings=tuple(sorted(findings, key=lambda finding: finding.rank)),
        splits=tuple(splits),
        counts=tuple(count(split) for split in splits if split.dataset),
        images=len(looks),
        remembered=known.hits,
        seconds=time.monotonic() - began,
        notes=known.notes,
    )
