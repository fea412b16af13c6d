"""What a run that learns from pictures with captions reads: one data set, or a mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vlp_fast.data.config import DataConfig
from vlp_fast.data.given_paths import shown_roots
from vlp_fast.data.leak import without_training_pictures
from vlp_fast.data.mixture import mix, spread
from vlp_fast.data.records import Dataset
from vlp_fast.data.split_pair import SplitPair, read_pairs
from vlp_fast.errors import InputError
from vlp_fast.tasks.config import TaskSetup


def read_splits(
    setup: TaskSetup, *, needs_boxes: bool = False, needs_captions: bool = True
) -> tuple[Dataset, Dataset]:
    """Read the splits for training and for evaluation, of all data sets together.

    Args:
        setup: the run's.
        needs_boxes: whether a data set without boxes is an error.
        needs_captions: whether an image without a caption is of no use.

    Raises:
        InputError: for whatever is wrong with them, or if one does not fit the other.
    """
    data, batch_size = setup.data, setup.length.batch_size
    pairs = read_pairs(data, needs_boxes=needs_boxes, needs_captions=needs_captions)
    if len(pairs) == 1:
        train = pairs[0].train
        held_out = without_training_pictures(pairs[0].held_out, train)
    else:
        train, held_out = _mixed(pairs, data)
    if batch_size > train.epoch_length:
        raise InputError(
            f"{shown_roots(data.root)}: {train.name} has {train.epoch_length} images"
            f"{' an epoch' if train.epoch_shares else ''}, --train.batch-size is {batch_size}; "
            f"give 1 to {train.epoch_length}"
        )
    return train, held_out


def _mixed(pairs: Sequence[SplitPair], data: DataConfig) -> tuple[Dataset, Dataset]:
    """Both mixtures, of the same classes; held-out batches hold images of all data sets."""
    named = [_named_alike(pair.train, pair.held_out) for pair in pairs]
    train = mix([train for train, _ in named], data.names, weights=data.weights)
    held_out = mix([held_out for _, held_out in named], data.names)
    return train, spread(without_training_pictures(held_out, train))


def _named_alike(train: Dataset, held_out: Dataset) -> tuple[Dataset, Dataset]:
    """A split without boxes may name no classes where the other one does."""
    owner = train if train.num_boxes or not held_out.num_boxes else held_out
    attributes = train.attribute_names or held_out.attribute_names
    return (
        replace(train, class_names=owner.class_names, attribute_names=attributes),
        replace(held_out, class_names=owner.class_names, attribute_names=attributes),
    )
