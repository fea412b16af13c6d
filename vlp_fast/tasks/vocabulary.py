"""The words of a run: given, of the run that goes on, of its first weights, or of its texts."""

from __future__ import annotations

from vlp_fast.data.records import Dataset
from vlp_fast.data.tokenizer import Tokenizer, load_vocabulary, train_vocabulary
from vlp_fast.errors import InputError
from vlp_fast.tasks.config import TaskSetup
from vlp_fast.weights.load import vocabulary_beside

INIT = "--init"
"""The option that gives weights."""


def choose_tokenizer(setup: TaskSetup, train: Dataset) -> Tokenizer:
    """The run's vocabulary; one that goes on keeps its own.

    Raises:
        InputError: if a file cannot be read, is another than the run began with, or texts may be
            longer than the model takes.
    """
    data = setup.data
    if data.max_text_length > setup.model.max_positions:
        raise InputError(
            f"--data.max-text-length {data.max_text_length} exceeds the model's "
            f"{setup.model.max_positions} positions; lower it or raise --model.max-positions"
        )
    given = load_vocabulary(data.vocabulary) if data.vocabulary else None
    if setup.vocabulary:
        kept = load_vocabulary(setup.vocabulary)
        if given is not None and given.vocabulary != kept.vocabulary:
            raise InputError(
                f"{setup.vocabulary}: the run's vocabulary is another than --data.vocabulary "
                f"{data.vocabulary}; leave the option out or give another --run-dir"
            )
        return kept
    if given:
        return given
    for path in setup.init:
        if (tokens := vocabulary_beside(path, INIT)) is not None:
            return Tokenizer(tokens)
    return train_vocabulary(train.captions(), data.vocabulary_size)
