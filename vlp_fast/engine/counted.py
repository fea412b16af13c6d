"""What a shard counts on the host, on its way to all processes: in the sums of its step.

A step is whole once its sums are, and so are these: whichever process is lost later, each of the
others knows what all have shown.
"""

from __future__ import annotations

from torch import Tensor

from vlp_fast.tasks.inputs import Inputs

PADDING = "padding_percent"
"""The figure that the first row is of: the share of the batch's pixels that no picture has."""


def counted(inputs: Inputs, number: int, shards: int, *, like: Tensor) -> Tensor:
    """Numbers of a shard as rows that are added up over shards and processes; nobody waits.

    Args:
        inputs: the shard.
        number: which of its step.
        shards: of a step.
        like: whose device and dtype they have.

    Returns:
        (1 + shards, 2): numerator and denominator of the padding; samples and replaced samples of
        each shard, of others than this one 0.
    """
    filled, padded = inputs.pixels
    rows = like.new_zeros(1 + shards, 2)
    values = (100 * (padded - filled), padded), (len(inputs.image_ids), len(inputs.problems))
    for row, pair in zip((rows[0], rows[1 + number]), values, strict=True):
        for place, value in enumerate(pair):
            row[place].fill_(value)  # a launch each, where a copy from the host would wait
    return rows
