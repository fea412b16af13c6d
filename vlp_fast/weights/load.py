"""A model starts from a file of weights, whatever it is; a CNN likewise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vlp_fast.models.model import VisionLanguageModel
from vlp_fast.weights.beside import vocabulary_of
from vlp_fast.weights.convert import convert_weights
from vlp_fast.weights.layout import Asked
from vlp_fast.weights.loaded import Loaded
from vlp_fast.weights.own import weights_in
from vlp_fast.weights.state_file import read_state_file


def load_weights(
    model: VisionLanguageModel,
    path: str | Path,
    *,
    vocabulary: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    attributes: Sequence[str] | None = None,
    next_sentence: bool = False,
    option: str = "pretrained",
) -> Loaded:
    """Give a model the weights that a file has for it.

    A ResNet of torchvision's, timm's or Hugging Face's (into the CNN of either system), a BERT
    (into SOHO), a DETR (into E2E-VLP), the published SOHO, a run folder, a checkpoint or a model of
    ours: the names tell. Nothing is changed if anything is refused.

    >>> print(load_weights(model, "bert/model.safetensors", vocabulary=tokenizer.vocabulary))

    Args:
        model: of either system.
        path: .safetensors or .pth; or a folder: a run (its newest checkpoint), a checkpoint, or a
            model of Hugging Face's. Code in a file is not run.
        vocabulary: the model's tokens in the order of their ids, compared with those that lie
            beside the weights; None to take the weights' own as the model's.
        classes: names of the model's object classes, by which rows of a class head are chosen.
        attributes: names of the model's attributes.
        next_sentence: BERT's next-sentence head becomes the matching head, its rows swapped.
        option: what gives the path, for messages.

    Returns:
        What was loaded, left and new; `str` of it is one line.

    Raises:
        InputError: in one line, if the file is missing, unreadable, holds code, or is of another
            system, size or vocabulary: the first tensor, its shape there and here.
    """
    asked = Asked(
        vocabulary=vocabulary,
        classes=classes,
        attributes=attributes,
        next_sentence=next_sentence,
    )
    converted = convert_weights(model, Path(path), asked, option)
    model.load_state_dict(converted.tensors, strict=False)
    return converted.record


def vocabulary_beside(path: Path, option: str = "pretrained") -> tuple[str, ...] | None:
    """The tokens that lie beside weights, in the order of their ids; None where there are none.

    Raises:
        InputError: if the weights are missing, or the file of tokens cannot be read.
    """
    return vocabulary_of(read_state_file(weights_in(path), option))
