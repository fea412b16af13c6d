"""Some of a data set's samples in place of all: spread over it, and the same ones everywhere.

Files are sorted, by picture, by class, by difficulty: the first samples are another data set. So
samples are put in the order of a hash, which depends on them alone, and not on a run or its seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

PURPOSE = b"part of a split"
"""Makes the hashes others than those by which splits are cut from one file."""


def hash_order(units: Sequence[int | str]) -> list[int]:
    """The numbers of all samples in the order in which they are taken.

    Example: the first 100 of the order are a part of the data set, and of its first 500.

    Args:
        units: of each sample, its identity, or that of the group that it is one of: a group is
            taken whole before the next one begins, in its own order. 7 and "7" are one.
    """
    hashes = {unit: _hash(unit) for unit in units}
    return sorted(range(len(units)), key=lambda i: hashes[units[i]])


def subsample(units: Sequence[int | str], count: int) -> list[int]:
    """The numbers of the first `count` samples of `hash_order`, ascending; of all if no more."""
    if count >= len(units):
        return list(range(len(units)))
    return sorted(hash_order(units)[:count])


def _hash(unit: int | str) -> tuple[bytes, str]:
    text = str(unit)
    encoded = text.encode(errors="surrogatepass")
    return blake2b(encoded, digest_size=8, person=PURPOSE).digest(), text
