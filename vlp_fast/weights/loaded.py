"""The record of what was loaded, what was left in the file and what is new in the model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vlp_fast.data.printable import printable
from vlp_fast.weights.fit import part_of

NUMBERED = re.compile(r"(.*?\b(?:layers?|stages)\.)(\d+)\b")


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What became of a file of weights; `str` of it is one line.

    Attributes:
        path: the file that was read.
        layout: what it is, with its article.
        loaded: names of the model's tensors that have the file's values.
        left: names in the file that have no place in the model.
        new: names of the model's tensors that the file has nothing for; they stay as they were.
        reasons: why a part is new although the file has it.
        notes: what whoever uses the weights should know.
    """

    path: Path
    layout: str
    loaded: tuple[str, ...]
    left: tuple[str, ...]
    new: tuple[str, ...]
    reasons: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        there = {part: f"{part} ({why})" for part, why in self.reasons.items()}
        parts = map(part_of, self.new)
        new = [there.get(part, part) for part in _ranges(dict.fromkeys(parts))]
        return "; ".join(
            [
                f"{self.path} is {self.layout}: {len(self.loaded)} tensors loaded "
                f"({_listed(_ranges(dict.fromkeys(map(part_of, self.loaded))))})",
                f"{len(self.left)} left in the file{_listed_behind(_left_parts(self.left))}",
                f"{len(self.new)} new here{_listed_behind(new)}",
                *self.notes,
            ]
        )


def new_in_all(records: Iterable[Loaded]) -> tuple[tuple[str, ...], str]:
    """Names of a model's tensors that none of its files had anything for, and their parts, listed.

    Args:
        records: of each file that one model started from, at least one.
    """
    first, *others = records
    names = tuple(name for name in first.new if all(name in other.new for other in others))
    return names, _listed(_ranges(dict.fromkeys(map(part_of, names))))


def _left_parts(names: Iterable[str]) -> list[str]:
    """Parts of a file, by the numbers of their layers or the first two words of their names."""
    parts: dict[str, None] = {}
    for name in names:
        found = NUMBERED.match(name)
        parts[found[0] if found else ".".join(name.split(".")[:2])] = None
    return _ranges(parts)


def _ranges(parts: Iterable[str]) -> list[str]:
    """Parts in their order, numbered ones as one: encoder.layers.0 to 5."""
    numbers: dict[str, list[int]] = {}
    for part in parts:
        found = NUMBERED.fullmatch(part)
        stem, number = (found[1], [int(found[2])]) if found else (part, [])
        numbers.setdefault(stem, []).extend(number)
    return [f"{stem}{_range(found)}" for stem, found in numbers.items()]


def _range(numbers: list[int]) -> str:
    ends = sorted({min(numbers), max(numbers)}) if numbers else []
    return " to ".join(map(str, ends))


def _listed(parts: list[str]) -> str:
    return printable(", ".join(parts)) or "none"


def _listed_behind(parts: list[str]) -> str:
    return f" ({_listed(parts)})" if parts else ""
