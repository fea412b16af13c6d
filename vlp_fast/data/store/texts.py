"""Many texts as one array of bytes and the places at which each begins.

A Python string of a caption takes 90 bytes and more, and a worker process that looks at it copies
the page of memory it lies in; here a text takes its letters and 8 bytes.
"""

from __future__ import annotations

from array import array
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
        starts: (n + 1,) int64, text i is `letters[starts[i]:starts[i + 1]]` but for its end.
        end: a character that is behind each text; "" for none.
    """

    letters: np.ndarray
    starts: np.ndarray
    end: str = ""

    @classmethod
    def of(cls, texts: Iterable[str], end: str = "") -> Texts:
        """Put texts together."""
        letters, lengths = bytearray(), array("q", [0])
        for text in texts:
            encoded = (text + end).encode(errors=_ERRORS)
            letters += encoded
            lengths.append(len(encoded))
        starts = np.cumsum(np.frombuffer(lengths, dtype=np.int64))
        return cls(np.frombuffer(letters, dtype=np.uint8), starts, end)

    @classmethod
    def joined(cls, parts: Sequence[Texts]) -> Texts:
        """The texts of one or more, one behind another; all have the same end."""
        lengths = np.concatenate([[0], *(np.diff(part.starts) for part in parts)])
        letters = np.concatenate([part.letters for part in parts])
        return cls(letters, np.cumsum(lengths).astype(np.int64), parts[0].end)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def is_sound(self) -> bool:
        """Whether both arrays are of one another, wherever they are from."""
        kinds = (self.letters.dtype == np.uint8, self.starts.dtype == np.int64)
        if (
            not all(kinds)
            or self.letters.ndim != 1
            or self.starts.ndim != 1
            or not len(self.starts)
        ):
            return False
        ends = (int(self.starts[0]), int(self.starts[-1]))
        return ends == (0, len(self.letters)) and bool((np.diff(self.starts) >= 0).all())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """A text, or a list of them."""
        if isinstance(index, slice):
            return self._list(range(*index.indices(len(self))))
        place = range(len(self))[index]
        text = self.bytes_of(place, place + 1).decode(errors=_ERRORS)
        return text[: -len(self.end)] if self.end else text

    def bytes_of(self, start: int, stop: int) -> bytes:
        """The letters of texts `start` to `stop`, without a gap."""
        return self.letters[self.starts[start] : self.starts[stop]].tobytes()

    def ranges(self, starts: np.ndarray, stops: np.ndarray) -> Texts:
        """Texts `starts[i]` to `stops[i]` for each i, one range behind another."""
        letters = bytearray()
        lengths = [np.zeros(1, dtype=np.int64)]
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            letters += self.letters[self.starts[start] : self.starts[stop]].data
            lengths.append(np.diff(self.starts[start : stop + 1]))
        return Texts(
            np.frombuffer(letters, dtype=np.uint8), np.cumsum(np.concatenate(lengths)), self.end
        )

    def _list(self, places: range) -> list[str]:
        """Neighbours are split at their ends, all at once, unless a text holds an end itself."""
        if self.end and places.step == 1 and len(places) > 1:
            text = self.bytes_of(places.start, places.stop).decode(errors=_ERRORS)
            found = text[: -len(self.end)].split(self.end)
            if len(found) == len(places):
                return found
        return [self[place] for place in places]
