"""Pictures without a caption are left out where words are asked about; a line where all are."""

from typing import Any

import numpy as np
import pytest
import torch

from vlp_fast.data.examples import Example
from vlp_fast.errors import InputError
from vlp_fast.inference.results import TextAttention
from vlp_fast.viz.looked import Looked
from vlp_fast.viz.looking import text_section
from vlp_fast.viz.retrieved import retrieved_section


def example(*captions: str) -> Example:
    return Example(
        index=0,
        image_id=0,
        image=torch.zeros(3, 8, 8, dtype=torch.uint8),
        captions=captions,
        boxes=torch.zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.int64),
        attributes=torch.zeros(0, dtype=torch.int64),
    )


class Model:
    """Refuses what a predictor refuses."""

    def attention(self, picture: Any, text: str) -> TextAttention:
        if not text.split():
            raise ValueError("attention: received an empty text, expected a word at least")
        words = ("[CLS]", *text.split(), "[SEP]")
        return TextAttention(words=words, weights=np.full((1, 1, len(words), 2, 2), 0.1))

    def match(self, pictures: list[Any], texts: list[str]) -> np.ndarray:
        return np.full((len(pictures), len(texts)), 0.5)


class HeldOut:
    """Some pictures, of no class."""

    def __init__(self, *pictures: Example) -> None:
        self.pictures = pictures
        self.task = self
        self.held_out = self
        self.class_names = ()

    def examples(self, count: int) -> list[Example]:
        return list(self.pictures[:count])


def looked(*pictures: Example) -> Looked:
    return Looked(model=Model(), held_out=HeldOut(*pictures))  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [text_section, retrieved_section])
def test_they_are_left_out(make: Any) -> None:
    body = make(looked(example(), example("a red star"), example("  "))).body
    assert "a red star" in body
    with pytest.raises(InputError, match="held-out pictures has a text"):
        make(looked(example(), example(" ")))
