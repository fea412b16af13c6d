"""Samples of downstream data sets as one array of bytes: a json row for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from sys import intern
from typing import Any

import numpy as np

from vlp_fast.data.samples import Hypothesis, Question, Sample, Statement

_KINDS: dict[str, type[Sample]] = {
    kind.__name__: kind for kind in (Question, Statement, Hypothesis)
}
_FIELDS = {name: tuple(field.name for field in fields(kind)) for name, kind in _KINDS.items()}


def rows_of(samples: Sequence[Sample]) -> np.ndarray:
    """Write samples into (N,) uint8."""
    rows = [
        [name, *(getattr(sample, field) for field in _FIELDS[name])]
        for sample in samples
        for name in (type(sample).__name__,)
    ]
    return np.frombuffer(json.dumps(rows).encode(), dtype=np.uint8)


def samples_of(rows: np.ndarray) -> tuple[Sample, ...]:
    """The samples that `rows_of` wrote; raises KeyError, TypeError or ValueError of others."""
    return tuple(
        _KINDS[name](**dict(zip(_FIELDS[name], map(_immutable, values), strict=True)))
        for name, *values in json.loads(rows.tobytes())
    )


def _immutable(value: Any) -> Any:
    """Lists as tuples; of texts that are equal, one."""
    if isinstance(value, list):
        return tuple(map(_immutable, value))
    return intern(value) if type(value) is str else value
