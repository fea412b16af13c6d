"""Does the text belong to the picture, when the text is whole? As retrieval would ask it.

The matching loss of pre-training reads texts with masked words, and so does its accuracy: where the
word that gives a foreign text away is masked, no model can be right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vlp_fast.data.examples import Example
from vlp_fast.data.randomness import generator
from vlp_fast.tasks.encoding import encode_pairs
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.pretraining.itm import draw_foreign_caption, draw_own_captions

if TYPE_CHECKING:
    from vlp_fast.tasks.pretraining.pretraining import Pretraining


def whole_text_matching(task: Pretraining, held_out: HeldOut) -> dict[str, float]:
    """Share of held-out pairs, half of them foreign, that are told apart."""
    model, runtime = task.learner.model, held_out.runtime

    def measure(examples: list[Example]) -> tuple[int, int]:
        texts, is_matched = _pairs(task, examples)
        hidden, starts = encode_pairs(model, runtime, texts, examples)
        first = torch.tensor(starts, device=hidden.device)
        with runtime.autocast():
            logits = model.match_logits(hidden.index_select(0, first))
        guesses = logits.argmax(-1).bool().tolist()
        right = sum(guess == answer for guess, answer in zip(guesses, is_matched, strict=True))
        return right, len(examples)

    found = [*held_out.measured_examples(measure)]
    right, count = (sum(part) for part in zip(*found, strict=True)) if found else (0, 0)
    return {"itm_whole_text": right / max(count, 1)}


def _pairs(task: Pretraining, examples: list[Example]) -> tuple[list[list[int]], list[bool]]:
    texts, is_matched = [], []
    for example in examples:
        draw = generator(0, 0, example.index, "whole pairs")
        matched = bool(draw.random() < 0.5)
        text = (
            draw_own_captions(example.captions, 1, draw)[0]
            if matched
            else draw_foreign_caption(task.held_out, example.index, draw)
        )
        texts.append(task.corruption.ids(text))
        is_matched.append(matched)
    return texts, is_matched
