"""How many samples of training were replaced, and when that is too many.

A sample with a broken picture is replaced by another one. A run stops where more than an allowed
share of the samples shown so far, and 8 more, were replaced, or 64 in a row.

The 8 are for chance, by which a run may begin with a few of its broken pictures and exceed any
share. Where half of the allowed share is broken, one run in 20,000 stops all the same: the chance
that a Poisson process of rate p / 2 ever crosses the line p t + 8 is exp(-8 s), where s solves
exp(s) - 1 = 2 s. Where 1 % is broken and 0.1 % allowed, a run stops after some 900 samples. The 64
in a row are for a disk that goes bad late in a long run, when the share allows thousands.

Counts are of whole steps and lie in the checkpoint: a resumed run stops where an uninterrupted one
does. Samples in a row are counted by shards all of whose samples were replaced.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vlp_fast.data.config import DataConfig
from vlp_fast.engine.bad_samples import check_command
from vlp_fast.errors import InputError

CHANCE = 8
"""Replaced samples that are allowed beyond the share."""
IN_A_ROW = 64


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """Samples of training up to a step.

    Attributes:
        shown: all of them.
        count: those that were replaced.
        in_a_row: those of the latest shards in which nothing else was shown.
    """

    shown: int = 0
    count: int = 0
    in_a_row: int = 0

    def after(self, samples: int, replaced: int) -> Replaced:
        """The counts with one more shard of so many samples."""
        return Replaced(
            shown=self.shown + samples,
            count=self.count + replaced,
            in_a_row=self.in_a_row + samples if replaced == samples else 0,
        )

    def state(self) -> dict[str, int]:
        """For a checkpoint."""
        return asdict(self)

    @staticmethod
    def restored(state: Any) -> Replaced:
        """Counts of a checkpoint; none of one that has no such ones."""
        names = Replaced().state()
        if not isinstance(state, dict) or any(type(state.get(name)) is not int for name in names):
            return Replaced()
        return Replaced(**{name: state[name] for name in names})

    def check(self, data: DataConfig, step: int) -> None:
        """Refuse to go on where too much was replaced.

        Args:
            data: the run's, which says how large a share is allowed.
            step: whole steps so far, for the message.

        Raises:
            InputError: if too many samples were replaced.
        """
        is_too_many = self.count > data.max_replaced * self.shown + CHANCE
        if not is_too_many and self.in_a_row < IN_A_ROW:
            return
        what = f"{self.count:,} of {self.shown:,}" if is_too_many else f"the last {self.in_a_row:,}"
        raise InputError(
            f"after step {step}: {what} samples were replaced, since their pictures are broken; "
            f"{check_command(data.root)} finds all of them: repair them, or raise "
            f"--data.max-replaced ({data.max_replaced:g})"
        )
