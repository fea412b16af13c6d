"""Files of pictures, opened one after another, and as many put together as it pays to compute.

Results come as it goes on, and memory holds the pictures of one group.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vlp_fast.data.config import DataConfig
from vlp_fast.errors import InputError
from vlp_fast.inference.pictures import Opened, open_picture
from vlp_fast.inference.reading import PIXELS

PIXELS_ON_A_CPU = 2**18
"""Drawings of 64x64 take a sixth of the time together that they take one by one, 16 at a time
nearly as little, and photographs of 480x640 as long as alone (one thread, docs/predict.md): these
come alone."""
MOST = 64
"""Samples of a group, however small they are."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Pictures that are asked about as one.

    Attributes:
        paths: of the files.
        pictures: as a model is shown them; none if one cannot be opened.
        error: why not.
    """

    paths: tuple[Path, ...]
    pictures: tuple[Opened, ...] = ()
    error: InputError | None = None


def in_groups(
    samples: Iterable[tuple[Path, ...]], data: DataConfig, *, is_gpu: bool
) -> Iterator[list[Sample]]:
    """Open samples, and give them in their order, those that are computed together as a list.

    Args:
        samples: the files of each.
        data: sizes and limits of the run.
        is_gpu: whether a GPU computes; how many go together does not depend on anything else, so
            that the same files have the same bits each time.
    """
    budget = PIXELS if is_gpu else PIXELS_ON_A_CPU
    group: list[Sample] = []
    pixels = 0
    for paths in samples:
        sample = _opened(paths, data)
        group.append(sample)
        pixels += sum(math.prod(one.example.size) for one in sample.pictures)
        if pixels >= budget or len(group) >= MOST:
            yield group
            group, pixels = [], 0
    if group:
        yield group


def _opened(paths: tuple[Path, ...], data: DataConfig) -> Sample:
    try:
        return Sample(paths=paths, pictures=tuple(open_picture(path, data) for path in paths))
    except InputError as error:  # no picture, or no memory for this one
        return Sample(paths=paths, error=error)
