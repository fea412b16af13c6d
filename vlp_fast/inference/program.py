"""A model as one program of tensors, by `torch.export`: pixels and token ids in, outputs out.

A program is of one size of pictures and one length of texts, for what lies where in a batch is
constant then. Whoever runs it needs torch and this package, whose operators are in it
(`import vlp_fast.ops`), and neither the model's code nor its settings. Captions are no such
program: how often the decoder runs depends on what it writes.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from vlp_fast.data.printable import printable
from vlp_fast.data.transforms import canvas_of
from vlp_fast.errors import InputError
from vlp_fast.inference.description import Description
from vlp_fast.inference.trained import Trained, load_trained
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.models.soho import VisualTokens
from vlp_fast.ops.grid import make_grid
from vlp_fast.ops.packing import make_packing
from vlp_fast.tasks.downstream.config import SampleTaskConfig
from vlp_fast.tasks.retrieval.match_score import match_scores
from vlp_fast.whole_file import write_whole


class Program(nn.Module):
    """What a model computes for one sample of fixed sizes.

    Args:
        trained: the model.
        size: (height, width) of the pictures in pixels.
        length: L, tokens of the text, [CLS] and [SEP] included.

    Attributes:
        pictures: P, of a sample: 2 where a model compares two.
        canvas: (height, width) in pixels that pictures are padded to, with zeros at the right and
            at the bottom: the size, or the multiple of pixels above it that the model asks for.
    """

    def __init__(self, trained: Trained, size: tuple[int, int], length: int) -> None:
        super().__init__()
        task, model = trained.about.task, trained.model
        self.model, self.classifier = model, trained.classifier
        self.codes = trained.codes
        self.abilities = task.abilities
        self.pictures = task.pictures if isinstance(task, SampleTaskConfig) else 1
        self.sizes = (size,) * self.pictures
        self.canvas = canvas_of(self.sizes, model.pad_multiple)
        self.grid = make_grid(*model.grid_sizes(self.sizes, self.canvas))
        lengths = [length] * self.pictures
        self.packing = make_packing(lengths, range(self.pictures), self.grid)
        self.length = length

    def forward(self, images: Tensor, text_ids: Tensor) -> dict[str, Tensor]:
        """Outputs by name, as far as the model has learnt them.

        Args:
            images: (P, 3, *canvas) uint8 RGB.
            text_ids: (L,) int64.

        Returns:
            match: () log odds. answer, compare, entails: (C,) logits. fill: (L, V) logits.
            detect_logits (Q, C + 1), detect_boxes (Q, 4) as (cx, cy, w, h) in [0, 1],
            detect_attributes (Q, R + 1) where the model knows some. codes: (h, w).
        """
        seen = self.model.see(images, self.grid, self.sizes, codes=self.codes)
        memory = self.model.read(text_ids.repeat(self.pictures), seen, self.grid, self.packing)
        first = memory[self.packing.first_rows]
        found: dict[str, Tensor] = {}
        if self.classifier is not None:
            found[self.abilities[0]] = self.classifier(first.reshape(1, -1))[0]
        if "match" in self.abilities:
            found["match"] = match_scores(self.model, first)[0]
        if "fill" in self.abilities:
            found["fill"] = self.model.masked_word_logits(memory[: self.length])
        if "codes" in self.abilities and isinstance(seen, VisualTokens):
            found["codes"] = seen.indices.reshape(self.grid.sizes[0])
        if "detect" in self.abilities and isinstance(self.model, E2EVLP):
            boxes = self.model.detect(memory, self.grid, self.packing)
            found["detect_logits"], found["detect_boxes"] = boxes.logits[-1, 0], boxes.boxes[-1, 0]
            if boxes.attribute_logits is not None:
                found["detect_attributes"] = boxes.attribute_logits[-1, 0]
        return found


def check_program(about: Description, length: int) -> None:
    """Refuse what can be no program.

    Raises:
        ValueError: for a text that is too short or longer than the model reads.
        InputError: if the model has learnt nothing but to write.
    """
    most = about.data.max_text_length
    if not 2 <= length <= most:
        raise ValueError(f"make_program: received length {length}, expected 2 to {most} tokens")
    if set(about.task.abilities) <= {"caption"}:
        raise InputError(
            f"a run of {about.recipe} writes captions, which are no program of fixed length; use "
            "`vlp_fast.load`"
        )


def make_program(trained: Trained, size: tuple[int, int], length: int) -> ExportedProgram:
    """Trace a model for one size of pictures and one length of texts.

    Raises:
        ValueError: for a text that is too short or longer than the model reads.
        InputError: if the model has learnt nothing but to write.
    """
    check_program(trained.about, length)
    program = Program(trained, size, length).to(trained.runtime.device)
    program.grid = program.grid.to(trained.runtime.device)
    program.packing = program.packing.to(trained.runtime.device)
    device = trained.runtime.device
    images = torch.zeros(program.pictures, 3, *program.canvas, dtype=torch.uint8, device=device)
    ids = torch.full((length,), trained.tokenizer.sep_id, device=device)
    # Without gradients from the start: a region of its own for that cannot be saved.
    with torch.no_grad():
        return torch.export.export(program.eval(), (images, ids))


def export_program(run_dir: Path, path: Path, size: tuple[int, int], length: int) -> Program:
    """Write a model's program (.pt2), whole or not at all.

    Args:
        run_dir: a run's folder, or an exported one.
        path: to write.
        size: (height, width) of the pictures in pixels.
        length: of texts, in tokens.

    Raises:
        InputError: if there is no model, or the file cannot be written.
    """
    trained = load_trained(run_dir, device="cpu", precision="fp32")
    program = make_program(trained, size, length)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own archives
            write_whole(path, lambda partial: torch.export.save(program, str(partial)))
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:160]
        raise InputError(f"{printable(path)}: cannot be written ({printable(reason)})") from None
    return Program(trained, size, length)
