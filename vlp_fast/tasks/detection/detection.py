"""Detection with paired text (E2E-VLP section 5.8): picture and caption in, DETR's boxes out.

Captions name objects, so this is not detection from pixels: held-out figures come in columns, with
the picture's own caption, without any, and with one of another picture.
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from vlp_fast.data.annotations import Annotations
from vlp_fast.data.examples import Example
from vlp_fast.data.given_paths import only_root
from vlp_fast.data.randomness import generator
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources import find_layout
from vlp_fast.data.sources.annotations import read_annotations
from vlp_fast.errors import InputError
from vlp_fast.models.config import E2EVLPConfig
from vlp_fast.models.e2e_vlp import E2EVLP, Detections
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.detection.batch import DetectionInputs, collate_columns, frames_of
from vlp_fast.tasks.detection.config import DetectionConfig, Text
from vlp_fast.tasks.detection.notes import detection_notes
from vlp_fast.tasks.detection.scoring import detection_figures
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
        data, root = self.setup.data, only_root(self.setup.data)
        layout = find_layout(
            root,
            layout=data.layout,
            karpathy_file=data.karpathy_file,
            needs_captions=False,
        )
        return read_annotations(root, layout, data.held_out_split, self.held_out)

    @property
    def texts(self) -> tuple[Text, ...]:
        """Columns of held-out figures."""
        return self.settings.texts

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
        if draw.random() < self.settings.no_text_rate or not example.captions:
            return []
        return self._ids(draw_own_captions(example.captions, 1, draw)[0])

    def _text(self, text: Text, example: Example, key: BatchKey) -> list[int]:
        """The same in every run: its first caption, none, or one drawn from other pictures."""
        if text == "no" or (text == "own" and not example.captions):
            return []
        if text == "own":
            return self._ids(example.captions[0])
        draw = generator(0, 0, example.index, "foreign text")
        return self._ids(draw_foreign_caption(key.dataset, example.index, draw))

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
        """Images with more boxes than queries; a package that scores need."""
        return detection_notes(self.train, self.held_out, self.model.query_positions.num_embeddings)

    def figures(self, held_out: HeldOut) -> Figures:
        """Losses, and COCO's twelve numbers in each column."""
        return detection_figures(self, held_out)

    @property
    def model(self) -> E2EVLP:
        """The model, which has a decoder."""
        assert isinstance(self.learner.model, E2EVLP)
        return self.learner.model
