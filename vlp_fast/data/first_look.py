"""Whether a data set can be shown at all: some of its images are decoded before the first is used.

A broken image is replaced by another one. Where most are broken, a run would train on the few that
are not, again and again, and look like success; so it does not begin. A count of what was replaced
so far could not decide that: each loading process has its own, and a run would stop at another step
with other processes. What is looked at here depends on the data set alone, and so does the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vlp_fast.data.broken_image import BrokenImage
from vlp_fast.data.printable import printable
from vlp_fast.data.records import Dataset
from vlp_fast.errors import InputError

LOOKED_AT = 64
"""Images, evenly spread over those that are shown, or all of them."""

FEWEST = 8
"""Of fewer images nothing is concluded; if all are broken, the first that is loaded says so."""


def refuse_broken(
    dataset: Dataset, decode: Callable[[int], object], shown: Sequence[int] | None = None
) -> None:
    """Make sure that most images can be decoded, as far as a look at some of them tells.

    Args:
        dataset: the records.
        decode: `decode(index)` decodes the image of a record, or raises `BrokenImage`.
        shown: numbers of the records that are shown; None for all.

    Raises:
        InputError: if more than half of those looked at, and these at least 8, are broken; with
            their number. Of a mixture each data set is looked at by itself.
    """
    for own in dataset.by_source(len(dataset.records)):
        indices = own if shown is None else np.intersect1d(own, shown)
        _refuse_broken(dataset, decode, indices)


def _refuse_broken(
    dataset: Dataset, decode: Callable[[int], object], shown: Sequence[int] | np.ndarray
) -> None:
    count = min(len(shown), LOOKED_AT)
    places = np.linspace(0, len(shown) - 1, count).round().astype(int)
    indices = [int(shown[place]) for place in places.tolist()]
    problems: list[str] = []
    for done, index in enumerate(indices):
        if 2 * (done - len(problems)) >= count:
            return  # half of them are good: a healthy data set is not looked at any longer
        try:
            decode(index)
        except BrokenImage as error:
            problems.append(str(error))
    if 2 * len(problems) > count >= FEWEST:
        folder = printable(dataset.records[indices[0]].path.parent)
        raise InputError(
            f"{folder}: {len(problems)} of {count} images of {dataset.name} that were looked at "
            f"cannot be used, the first: {problems[0]}; repair or download them again, or take "
            "them out of the annotations"
        )
