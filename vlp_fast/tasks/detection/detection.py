"""Detection with paired text (E2E-VLP section 5.8): picture and caption in, DETR's boxes out.

Captions name objects, so this is not detection from pixels: held-out figures come in columns, with
the picture's own caption, without any, and with one of another picture.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from vlp_fast.data.annotations import Annotations
from vlp_fast.data.examples import Example
from vlp_fast.data.given_paths import only_root
from vlp_fast.data.randomness import generator
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources.annotations import read_annotations
from vlp_fast.data.submissions.coco_detection import write_detections
from vlp_fast.data.submissions.complete import refuse_partial
from vlp_fast.errors import InputError
from vlp_fast.models.config import E2EVLPConfig
from vlp_fast.models.e2e_vlp import E2EVLP, Detections
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.detection.answers import scored_boxes
from vlp_fast.tasks.detection.batch import DetectionInputs, collate_columns, frames_of
from vlp_fast.tasks.detection.config import DetectionConfig, Text
from vlp_fast.tasks.detection.notes import detection_notes
from vlp_fast.tasks.detection.picture import draw_columns
from vlp_fast.tasks.detection.scoring import all_answers, detection_figures
from vlp_fast.tasks.detection.set_prediction import DetectionWeights, detection_loss
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.pretraining.itm import draw_foreign_caption, draw_own_captions
from vlp_fast.tasks.reading import read_splits
from vlp_fast.tasks.step import StepOutput
from vlp_fast.tasks.task import Figures, Learner, Task


class Detection(Task):
    """Boxes of a picture that is read with a text; COCO's protocol."""

    settings: DetectionConfig
    curves: ClassVar = ("detection", "detection_class", "detection_bbox", "detection_giou")
    columns = ("own_text", "no_text", "foreign_text")

    def read(self) -> tuple[Dataset, Dataset]:
        """Boxes of both splits, and captions where there are some."""
        return read_splits(self.setup, needs_boxes=True, needs_captions=False)

    def check(self) -> None:
        """The model has a decoder."""
        if not isinstance(self.setup.model, E2EVLPConfig):
            raise InputError(
                "detection needs a decoder, and SOHO has none; take a model of E2E-VLP"
            )

    @cached_property
    def annotations(self) -> Annotations:
        """Held-out objects as their files state them."""
        data = self.setup.data
        root, layout = only_root(data), self.settings.layout(data)
        return read_annotations(root, layout, data.held_out_split, self.held_out)

    @property
    def has_truth(self) -> bool:
        """Whether anybody says what is in the held-out pictures."""
        return not self.held_out.is_unannotated

    @property
    def texts(self) -> tuple[Text, ...]:
        """Columns of held-out figures: those that the pictures have texts for."""
        needed = {"no": 0, "own": 1, "foreign": 2}
        return tuple(text for text in self.settings.texts if self._captions >= needed[text]) or (
            "no",
        )

    @cached_property
    def _captions(self) -> int:
        """Different captions of held-out pictures."""
        return len(set(self.held_out.table.captions()))

    def collate(self, examples: list[Example], key: BatchKey) -> DetectionInputs:
        """One text a picture in training; of held-out pictures one of each column."""
        if key.step is not None:
            texts = [self._training_text(example, key) for example in examples]
            return collate_columns(examples, [texts], (), self.model)
        columns = [[self._text(text, e, key) for e in examples] for text in self.texts]
        return collate_columns(examples, columns, frames_of(examples, key.dataset), self.model)

    def _training_text(self, example: Example, key: BatchKey) -> list[int]:
        """One of its captions, or none."""
        draw = generator(self.setup.seed, key.epoch, example.index, "text")
        if draw.random() < self.settings.textless_rate or not example.captions:
            return []
        return self._ids(draw_own_captions(example.captions, 1, draw)[0])

    def _text(self, text: Text, example: Example, key: BatchKey) -> list[int]:
        """The same in every run: its first caption, none, or one drawn from other pictures."""
        if text == "no" or (text == "own" and not example.captions):
            return []
        if text == "own":
            return self._ids(example.captions[0])
        draw = generator(0, 0, example.index, "foreign text")
        try:
            return self._ids(draw_foreign_caption(key.dataset, example.index, draw))
        except InputError:  # all captions that there are are its own
            return []

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, self.setup.data.max_text_length)

    def detect(self, learner: Learner, inputs: DetectionInputs) -> Detections:
        """What each decoder layer finds in each picture, column by column; the CNN runs once."""
        model = learner.model
        assert isinstance(model, E2EVLP)
        seen = model.see(inputs.images, inputs.grid, inputs.image_sizes)
        memory = model.read(inputs.text_ids, seen, inputs.grid, inputs.packing)
        return model.detect(memory, inputs.grid, inputs.packing)

    def output(self, found: Detections, inputs: DetectionInputs) -> StepOutput:
        """The set loss of the first column."""
        first, kinds = slice(len(inputs.image_ids)), found.attribute_logits
        loss, parts = detection_loss(
            found.logits[:, first],
            found.boxes[:, first],
            None if kinds is None else kinds[:, first],
            inputs.targets,
            DetectionWeights.of(self.settings),
        )
        shown = {f"detection_{name}": value for name, value in parts.items()}
        return StepOutput(losses={"detection": loss}, parts=shown)

    def forward(self, learner: Learner, inputs: DetectionInputs) -> StepOutput:
        """The set loss of all decoder layers."""
        return self.output(self.detect(learner, inputs), inputs)

    def notes(self) -> dict[str, list[str]]:
        """Images with more boxes than queries; a package that scores need; figures that are not."""
        notes = detection_notes(
            self.train, self.held_out, self.model.query_positions.num_embeddings
        )
        if not self.has_truth:
            notes["held out"].append(
                f"the files do not say what is in the images of {self.held_out.name}, and there "
                "are no figures of it; `vlp-fast submit` writes a run's own boxes for the server"
            )
        elif missing := [text for text in self.settings.texts if text not in self.texts]:
            notes["held out"].append(
                f"too few captions for figures with {' and '.join(missing)} text: there are none"
            )
        return notes

    def figures(self, held_out: HeldOut) -> Figures:
        """Losses, and COCO's twelve numbers in each column."""
        return detection_figures(self, held_out) if self.has_truth else {}

    def remarks(self, figures: Figures, held_out: HeldOut) -> list[str]:
        """Whether the captions help, where figures with and without them can tell."""
        low, high = (figures.get(f"text_gain_{end}") for end in ("low", "high"))
        if low is None or high is None:
            return []
        if not self.settings.textless_rate:
            return [
                "training showed no picture without a caption (--task.textless-rate 0): figures "
                "without a text are of what the model never saw"
            ]
        if low > 0:
            return []
        gain = figures["text_gain"]
        return [
            f"captions are no proven help: AP with them minus AP without is {gain:.4f}, with a "
            f"95 % interval from {low:.4f} to {high:.4f}"
        ]

    @property
    def panel_rows(self) -> int:
        """A row of pictures for each text."""
        return len(self.texts)

    def draw(self, figure: Any, held_out: HeldOut) -> None:
        """Boxes in held-out pictures beside each text."""
        draw_columns(self, figure, held_out)

    def submit(self, held_out: HeldOut, path: Path, say: Callable[[str], None]) -> None:
        """Write the boxes of every image of the split, found with the text of the first column."""
        data = self.setup.data
        images = self.settings.keys_to_answer(data)
        refuse_partial(self.held_out, images, only_root(data))
        answers = all_answers(self, held_out)
        if broken := [image for image in images if image not in answers]:
            say(f"{len(broken)} images that cannot be read (the first: {broken[0]}) have no boxes")
        categories = self.annotations.category_ids_of(self.train.class_names)
        if held_out.team.rank == 0:
            write_detections(
                path,
                scored_boxes(answers, categories),
                split=data.held_out_split,
                image_ids=images,
                category_ids=categories,
            )

    @property
    def model(self) -> E2EVLP:
        """The model, which has a decoder."""
        assert isinstance(self.learner.model, E2EVLP)
        return self.learner.model
