"""The part of report.png that shows what pre-training learns: words, boxes, captions, codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlp_fast.data.examples import Example
from vlp_fast.data.randomness import generator
from vlp_fast.data.transforms import shown
from vlp_fast.tasks.detection.picture import draw_found
from vlp_fast.tasks.encoding import encode_pairs
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.inputs import flat
from vlp_fast.tasks.pretraining.code_maps import (
    coded_pictures,
    draw_code_legend,
    draw_code_maps,
    frequent_codes,
)
from vlp_fast.tasks.pretraining.mlm import MaskedText
from vlp_fast.tasks.titles import wrapped

if TYPE_CHECKING:
    from vlp_fast.tasks.pretraining.e2e_vlp import E2EVLPPretraining
    from vlp_fast.tasks.pretraining.pretraining import Pretraining
    from vlp_fast.tasks.pretraining.soho import SohoPretraining

SHOWN = 4
MASKED = 2
"""Words masked in the text of a picture, if there is such a draw."""
DRAWS = 4
"""Of masked words for each caption of a picture."""
LEGEND = 100
"""Pictures that patches of the codes are taken from."""


def draw_words_and_boxes(task: E2EVLPPretraining, figure: Any, held_out: HeldOut) -> None:
    """A row of masked words, a row of boxes and captions."""
    examples = held_out.examples(SHOWN)
    words, pictures = figure.subplots(2, SHOWN, squeeze=False)
    _draw_words(task, held_out, words, examples)
    _draw_boxes(task, held_out, pictures, examples)


def draw_words_and_codes(task: SohoPretraining, figure: Any, held_out: HeldOut) -> None:
    """A row of masked words, a row of code maps, a legend of patches."""
    examples = held_out.examples(SHOWN)
    grid = figure.add_gridspec(3, SHOWN)
    rows = [[figure.add_subplot(grid[row, i]) for i in range(SHOWN)] for row in range(2)]
    _draw_words(task, held_out, rows[0], examples)
    _draw_codes(task, held_out, rows[1], figure.add_subplot(grid[2, :]), examples)


def _draw_words(task: Pretraining, held_out: HeldOut, axes: Any, examples: list[Example]) -> None:
    """Words masked as in training are filled in; wrong ones are marked by what was meant."""
    tokenizer, model, runtime = task.tokenizer, task.learner.model, held_out.runtime
    masked = _masked(task, examples)
    hidden, starts = encode_pairs(model, runtime, [m.ids for m in masked], examples)
    for axis, example, text, start in zip(axes, examples, masked, starts, strict=False):
        # flat, for a caption without an ordinary token has no positions
        rows = flat([[start + p for p in text.positions]]).to(hidden.device)
        with runtime.autocast():
            guesses = model.masked_word_logits(hidden[rows]).argmax(-1).tolist()
        words = [tokenizer.decode([token]) for token in text.original()]
        for position, guess, target in zip(text.positions, guesses, text.targets, strict=True):
            found, meant = tokenizer.decode([guess]), tokenizer.decode([target])
            words[position] = f"[{found}]" if guess == target else f"[{found}, not {meant}]"
        axis.imshow(shown(example.pixels).numpy())
        filled = wrapped(" ".join(words[1:-1])) or "(no word of the vocabulary)"
        axis.set_title(f"masked words filled in:\n{filled}", fontsize=9)
        axis.axis("off")


def _masked(task: Pretraining, examples: list[Example]) -> list[MaskedText]:
    """A masked caption of each picture: of some draws one of `MASKED` words in a long text."""
    corruption, found = task.corruption, []
    for example in examples:
        draw = generator(0, 0, example.index, "report")  # not its id, which may be any number
        texts = [corruption.mask(text, draw) for text in example.captions * DRAWS]
        found.append(max(texts, key=lambda text: (-abs(len(text.targets) - MASKED), len(text.ids))))
    return found


def _draw_boxes(
    task: E2EVLPPretraining, held_out: HeldOut, axes: Any, examples: list[Example]
) -> None:
    for axis, example in zip(axes, examples, strict=False):
        # Each alone: beside others it would be padded, and the CNN moves boxes near padding.
        (text,) = task.captions(held_out, [example]) or ("",)
        (found,) = task.detections(held_out, [example])
        draw_found(axis, example, found, task.held_out.class_names)
        axis.set_title("written: " + wrapped(text) if text else "", fontsize=9)


def _draw_codes(
    task: SohoPretraining, held_out: HeldOut, axes: Any, legend: Any, examples: list[Example]
) -> None:
    """Maps of codes of the pictures above, and what the codes look like in some more of them."""
    more = held_out.examples(LEGEND)
    shown_as = [shown(example.pixels) for example in more]
    pictures = coded_pictures(task.model, held_out.runtime, more, shown_as)
    first, others = pictures[: len(examples)], pictures[len(examples) :]
    coloured = frequent_codes(first)
    draw_code_maps(axes, first, coloured)
    draw_code_legend(legend, others or first, coloured)
