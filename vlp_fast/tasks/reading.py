"""The two data sets of a run that learns from pictures with captions."""

from __future__ import annotations

from functools import partial

from vlp_fast.data.given_paths import check_root
from vlp_fast.data.leak import without_training_pictures
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources import load_dataset
from vlp_fast.errors import InputError
from vlp_fast.tasks.config import TaskSetup


def read_splits(setup: TaskSetup, *, needs_boxes: bool = False) -> tuple[Dataset, Dataset]:
    """Read the splits for training and for evaluation.

    Args:
        setup: the run's.
        needs_boxes: whether a data set without boxes is an error.

    Raises:
        InputError: for whatever is wrong with them, or if one does not fit the other.
    """
    data, batch_size = setup.data, setup.length.batch_size
    root = check_root(data.root)
    read = partial(
        load_dataset,
        root,
        layout=data.layout,
        karpathy_file=data.karpathy_file,
        needs_boxes=needs_boxes,
        missing_images=data.missing_images,
        objects_vocabulary=data.objects_vocabulary,
        attributes_vocabulary=data.attributes_vocabulary,
    )
    train = read(data.train_split)
    held_out = without_training_pictures(read(data.held_out_split), train)
    if batch_size > len(train):
        raise InputError(
            f"{data.root}: {train.name} has {len(train)} images, --train.batch-size is "
            f"{batch_size}; give 1 to {len(train)}"
        )
    if train.num_boxes and held_out.num_boxes and train.class_names != held_out.class_names:
        raise InputError(
            f"{data.root}: {train.name} and {held_out.name} have other classes of objects; make "
            "the categories of both instance files the same"
        )
    return train, held_out
