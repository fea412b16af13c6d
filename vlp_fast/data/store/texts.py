"""Many texts as one array of bytes and the places at which each begins.

A Python string of a caption takes 90 bytes and more, and a worker process that looks at it copies
the page of memory it lies in; here a text takes its letters and 8 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

_ERRORS = "surrogatepass"
"""Names of files may hold bytes that are no text, which Python writes as lone surrogates."""


@dataclass(frozen=True, eq=False)
class Texts(Sequence[str]):
    """An immutable sequence of texts.

    Attributes:
        letters: (N,) uint8, UTF-8 of all texts, one behind another.
        starts: (n + 1,) int64, text i is `letters[starts[i]:starts[i + 1]]`.
    """

    letters: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Put texts together."""
        letters, lengths = bytearray(), [0]
        for text in texts:
            encoded = text.encode(errors=_ERRORS)
            letters += encoded
            lengths.append(len(encoded))
        starts = np.cumsum(np.array(lengths, dtype=np.int64))
        return cls(np.frombuffer(letters, dtype=np.uint8), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        """A text, or a list of them."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return self.bytes_of(place, place + 1).decode(errors=_ERRORS)

    def bytes_of(self, start: int, stop: int) -> bytes:
        """The letters of texts `start` to `stop`, without a gap."""
        return self.letters[self.starts[start] : self.starts[stop]].tobytes()
