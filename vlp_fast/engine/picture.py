"""report.png: what the run looked like and what the model does with held-out pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlp_fast.data.examples import Example
from vlp_fast.data.printable import printable
from vlp_fast.data.randomness import generator
from vlp_fast.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from vlp_fast.engine.code_maps import (
    coded_pictures,
    draw_code_legend,
    draw_code_maps,
    frequent_codes,
)
from vlp_fast.engine.config import SohoRun
from vlp_fast.engine.encoding import captions, encode_images, encode_pairs
from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.glyphs import fit_fonts
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.whole_file import write_whole
from vlp_fast.errors import InputError
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.tasks.detection import Prediction, predictions
from vlp_fast.tasks.mlm import MaskedText
from vlp_fast.tasks.texts import flat

SHOWN = 4
MASKED = 2
"""Words masked in the text of a picture, if there is such a draw."""
DRAWS = 4
"""Of masked words for each caption of a picture."""
LOSSES = ("mlm", "itm", "mvm", "captioning", "detection", "tagging")
LEGEND = 100
"""Pictures that patches of the codes are taken from."""
SCORE = 0.5
"""Boxes of at least this score are drawn."""


def try_report(restore: Callable[[], Experiment]) -> None:
    """Draw the report of a run that is complete: what goes wrong with it is one line, no error.

    Args:
        restore: makes the trained experiment.
    """
    try:
        draw_report(restore())
    except Exception as error:  # whatever a font, a disk or a memory that is too small brings up
        kind = None if isinstance(error, InputError) else type(error).__name__
        reason = ": ".join(part for part in (kind, printable(error)) if part)
        print(f"note: no report.png ({reason}); the run itself is complete")


@torch.no_grad()
def draw_report(experiment: Experiment) -> Path | None:
    """Draw report.png of a trained model into its run folder; None where matplotlib is missing.

    Raises:
        InputError: if the folder cannot be written.
    """
    try:
        import matplotlib
    except ImportError:
        print("report.png needs matplotlib: pip install 'vlp-fast[viz]'")
        return None
    matplotlib.use("Agg")
    matplotlib.rcParams["text.parse_math"] = False  # captions are not mathematics
    from matplotlib import pyplot

    run = experiment.run
    experiment.model.eval()
    rows = 4 if isinstance(run, SohoRun) else 3
    figure, axes = pyplot.subplots(
        rows, SHOWN, figsize=(4 * SHOWN, 3.6 * rows), layout="constrained", squeeze=False
    )
    _draw_curves(axes[0], read_journal(run.directory / "metrics.jsonl"))
    examples = experiment.held_out_examples(SHOWN)
    words, pictures = axes[1][: len(examples)], axes[2][: len(examples)]
    _draw_words(experiment, words, examples)
    if isinstance(run, SohoRun):
        grid = axes[3, 0].get_gridspec()
        for axis in axes[3]:
            axis.remove()
        _draw_codes(experiment, pictures, figure.add_subplot(grid[3, :]), examples)
    else:
        _draw_boxes(experiment, pictures, examples)
    figure.suptitle(f"{run.name}: losses, masked words, held-out pictures", fontsize=14)
    if note := fit_fonts(figure):
        print(f"note: report.png: {note}")
    path = run.directory / "report.png"
    try:
        write_whole(path, lambda partial: figure.savefig(partial, dpi=80, format="png"))
    except OSError as error:
        raise InputError(
            f"{printable(path)}: cannot be written ({error.strerror}); free some space, make the "
            "folder writable, or do without the picture (train: --train.no-picture; evaluate: "
            "--split NAME)"
        ) from None
    finally:
        pyplot.close(figure)
    print(f"picture: {printable(path)}")
    return path


def _draw_curves(axes: Any, rows: list[dict[str, Any]]) -> None:
    training = [row for row in rows if row.get("kind") == "train"]
    held_out = [row for row in rows if row.get("kind") == "held_out"]
    names = [n for n in LOSSES if any(n in row for row in training)]
    for axis, name in zip(axes, names, strict=False):
        points = [(r["step"], r[name]) for r in training if name in r]
        axis.plot(*zip(*points, strict=True), marker=".", label="training")
        points = [(r["step"], r[name]) for r in held_out if name in r]
        if points:
            axis.plot(*zip(*points, strict=True), "o", label="held out")
        axis.set_title(f"{name} loss")
        axis.set_xlabel("step")
        axis.legend()
    for axis in axes[len(names) :]:
        axis.axis("off")


def _draw_words(experiment: Experiment, axes: Any, examples: list[Example]) -> None:
    """Words masked as in training are filled in; wrong ones are marked by what was meant."""
    tokenizer = experiment.tokenizer
    masked = _masked(experiment, examples)
    hidden, starts = encode_pairs(experiment, [m.ids for m in masked], examples)
    for axis, example, text, start in zip(axes, examples, masked, starts, strict=True):
        # flat, for a caption without an ordinary token has no positions
        rows = flat([[start + p for p in text.positions]]).to(hidden.device)
        with experiment.precision.autocast():
            guesses = experiment.model.masked_word_logits(hidden[rows]).argmax(-1).tolist()
        words = [tokenizer.decode([token]) for token in text.original()]
        for position, guess, target in zip(text.positions, guesses, text.targets, strict=True):
            found, meant = tokenizer.decode([guess]), tokenizer.decode([target])
            words[position] = f"[{found}]" if guess == target else f"[{found}, not {meant}]"
        axis.imshow(_pixels(example.image).numpy())
        shown = _wrap(" ".join(words[1:-1])) or "(no word of the vocabulary)"
        axis.set_title(f"masked words filled in:\n{shown}", fontsize=9)
        axis.axis("off")


def _masked(experiment: Experiment, examples: list[Example]) -> list[MaskedText]:
    """A masked caption of each picture: of some draws one of `MASKED` words in a long text."""
    corruption, found = experiment.held_out_objective.corruption, []
    for example in examples:
        draw = generator(0, 0, example.index, "report")  # not its id, which may be any number
        texts = [corruption.mask(text, draw) for text in example.captions * DRAWS]
        found.append(max(texts, key=lambda text: (-abs(len(text.targets) - MASKED), len(text.ids))))
    return found


def _draw_boxes(experiment: Experiment, axes: Any, examples: list[Example]) -> None:
    for axis, example in zip(axes, examples, strict=True):
        # Each alone: beside others it would be padded, and the CNN moves boxes near padding.
        (text,), (found,) = captions(experiment, [example]), _detect(experiment, [example])
        axis.imshow(_pixels(example.image).numpy())
        height, width = example.image.shape[1:]
        for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True):
            if score >= SCORE:
                _draw_box(axis, (box * box.new_tensor([width, height] * 2)).tolist())
                name = printable(experiment.held_out.class_names[int(label)])
                axis.text(
                    float(box[0]) * width,
                    float(box[1]) * height,
                    name,
                    fontsize=7,
                    color="black",
                    backgroundcolor="white",
                )
        axis.set_title("written: " + _wrap(text), fontsize=9)
        axis.axis("off")


def _draw_box(axis: Any, corners: list[float]) -> None:
    x1, y1, x2, y2 = corners
    axis.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color="black", linewidth=2.5)
    axis.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color="yellow", linewidth=1.2)


def _detect(experiment: Experiment, examples: list[Example]) -> list[Prediction]:
    model = experiment.model
    assert isinstance(model, E2EVLP)
    memory, grid, packing = encode_images(experiment, examples)
    with experiment.precision.autocast():
        found = model.detect(memory, grid, packing)
    return predictions(found.logits[-1], found.boxes[-1], None)


def _draw_codes(experiment: Experiment, axes: Any, legend: Any, examples: list[Example]) -> None:
    """Maps of codes of the pictures above, and what the codes look like in some more of them."""
    more = experiment.held_out_examples(LEGEND)
    pictures = coded_pictures(experiment, more, [_pixels(example.image) for example in more])
    shown, others = pictures[: len(examples)], pictures[len(examples) :]
    coloured = frequent_codes(shown)
    draw_code_maps(axes, shown, coloured)
    draw_code_legend(legend, others or shown, coloured)


def _pixels(image: Tensor) -> Tensor:
    """(H, W, 3) in [0, 1] of a normalised (3, H, W) image."""
    mean, deviation = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return (image.permute(1, 2, 0) * deviation + mean).clamp(0, 1)


def _wrap(text: str, width: int = 44) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += f"{word} "
    return "\n".join(lines[:4])
