"""What tasks over samples have in common: a text beside each of its pictures, a head on [CLS]."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from vlp_fast.data.examples import Example
from vlp_fast.data.given_paths import only_root
from vlp_fast.data.leak import without_training_pictures
from vlp_fast.data.order import Order, SampleOrder
from vlp_fast.data.randomness import generator
from vlp_fast.data.records import Dataset
from vlp_fast.data.sample_loader import SampleExample, SampleLoader
from vlp_fast.data.submissions.complete import refuse_partial
from vlp_fast.errors import InputError
from vlp_fast.metrics.score import Score
from vlp_fast.tasks.averages import Averages
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.downstream.classifiers import build_classifier
from vlp_fast.tasks.downstream.config import SampleTaskConfig
from vlp_fast.tasks.downstream.picture import draw_answers
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.sequences import Sequences, lay_out
from vlp_fast.tasks.step import StepOutput
from vlp_fast.tasks.task import Figures, Learner, Task

DRAWS = 64
"""Of another sample, to find one of other pictures."""


@dataclass(frozen=True, kw_only=True)
class SampleInputs(Sequences):
    """N samples: a sequence for each of a sample's pictures, sample after sample.

    Attributes:
        targets: what a task's loss compares with, by name.
        indices: of the samples in their data set.
        asked: of those that were asked for; others where these are broken.
    """

    targets: dict[str, Tensor]
    indices: tuple[int, ...]
    asked: tuple[int, ...]


class SampleTask(Task):
    """A task over the samples of a downstream data set."""

    settings: SampleTaskConfig
    samples = "samples"
    panel_rows = 2
    pictures_a_sample: ClassVar[int] = 1
    """[CLS] of as many sequences are read together, in order."""

    @abstractmethod
    def read_split(self, split: str) -> Dataset:
        """The samples of a split."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Classes that are told apart."""

    @abstractmethod
    def targets(self, samples: Sequence[Any]) -> dict[str, Tensor]:
        """What the loss compares with, on the host."""

    @abstractmethod
    def output(self, logits: Tensor, targets: dict[str, Tensor]) -> StepOutput:
        """Losses and counts of (N, C) logits."""

    @abstractmethod
    def answer(self, place: int) -> Any:
        """The answer that a class stands for."""

    @abstractmethod
    def truth(self, sample: Any) -> Any:
        """The right answer; None where nobody says."""

    @abstractmethod
    def score(self) -> Score:
        """An empty score."""

    @abstractmethod
    def add(self, score: Any, sample: Any, answer: Any) -> None:
        """Count the answer to a sample, if its truth is known."""

    @property
    def root(self) -> Path:
        """The data set's folder."""
        return only_root(self.setup.data)

    @abstractmethod
    def write(self, path: Path, answers: dict[Any, Any]) -> None:
        """Write answers by key to a file that the split's server takes."""

    def read(self) -> tuple[Dataset, Dataset]:
        """Both splits; held-out samples with a picture of training are left out."""
        data, batch_size = self.setup.data, self.setup.length.batch_size
        train = self.read_split(data.train_split)
        held_out = without_training_pictures(self.read_split(data.held_out_split), train)
        if batch_size > len(train):
            raise InputError(
                f"{self.root}: {train.name} has {len(train)} {self.samples}, --train.batch-size is "
                f"{batch_size}; give 1 to {len(train)}"
            )
        return train, held_out

    def heads(self, width: int) -> nn.Module:
        """The classifier."""
        return build_classifier(
            self.settings.head, width, self.num_classes, pictures=self.pictures_a_sample
        )

    def text(self, sample: Any) -> str:
        """What is read beside the pictures."""
        return str(sample.text)

    def order(self, order: SampleOrder) -> Order:
        """Samples in random order, or pictures with all that is asked of them."""
        if not self.settings.keep_together:
            return order
        return order.grouped([sample.images[0] for sample in self.train.samples])

    def collate(self, examples: list[Any], key: BatchKey) -> SampleInputs:
        """Pad each picture once, and lay the text beside each picture of its sample."""
        shown: dict[int, Example] = {}
        for example in examples:
            shown |= {picture.index: picture for picture in example.pictures}
        places = {index: place for place, index in enumerate(shown)}
        texts, image_of = [], []
        for example in examples:
            ids = self.tokenizer.encode(self.text(example.sample), self.setup.data.max_text_length)
            texts += [ids] * len(example.pictures)
            image_of += [places[picture.index] for picture in example.pictures]
        return SampleInputs(
            **lay_out(list(shown.values()), texts, image_of, self.learner.model),
            image_ids=tuple(example.sample.key for example in examples),
            problems=tuple(example.problem for example in examples if example.problem),
            targets=self.targets([example.sample for example in examples]),
            indices=tuple(example.index for example in examples),
            asked=tuple(example.asked for example in examples),
        )

    def logits(self, learner: Learner, inputs: SampleInputs) -> Tensor:
        """(N, C) in float32."""
        rows = inputs.first_rows(learner.model, codes=self.settings.codes)
        assert learner.heads is not None
        joined = rows.view(len(inputs.indices), -1)
        logits: Tensor = learner.heads(joined)
        return logits.float()

    def forward(self, learner: Learner, inputs: SampleInputs) -> StepOutput:
        """The loss of the classifier."""
        return self.output(self.logits(learner, inputs), inputs.targets)

    def answered(self, held_out: HeldOut) -> Iterator[tuple[StepOutput, dict[int, Any]]]:
        """Losses of each held-out batch, and the model's answer to each sample by its number.

        A sample whose picture is broken has the answer None: what is shown in its place says
        nothing about it, and is a sample of its own.
        """
        for inputs in held_out.batches():
            with held_out.runtime.autocast():
                logits = self.logits(self.learner, inputs)
                output = self.output(logits, inputs.targets)
            answers = map(self.answer, logits.argmax(-1).tolist())
            of = zip(inputs.asked, inputs.indices, answers, strict=True)
            yield output, {asked: answer if asked == shown else None for asked, shown, answer in of}

    def figures(self, held_out: HeldOut) -> Figures:
        """Losses where answers are known, and the task's own score: each sample counts once.

        One whose picture is broken is answered as it would be handed in. There are none of a split
        whose answers are not public.
        """
        if not self.has_truth:
            return {}
        averages, score, samples = Averages(), self.score(), self.held_out.samples
        for output, answers in self.answered(held_out):
            if any(self.truth(samples[index]) is not None for index in answers):
                averages.add_output(output)
            for index, answer in answers.items():
                self.add(score, samples[index], self.usual if answer is None else answer)
        shuffled = self._shuffled(held_out) if self.settings.shuffled else {}
        return averages.means() | _named(score) | shuffled

    def _shuffled(self, held_out: HeldOut) -> Figures:
        """The score where every sample has the pictures of another one."""
        score, key = self.score(), BatchKey(self.held_out, 0, None)
        for examples in held_out.similar_examples():
            swapped = [self._with_other_pictures(example) for example in examples]
            inputs = self.collate(swapped, key).to(held_out.runtime.device)
            with held_out.runtime.autocast():
                places = self.logits(self.learner, inputs).argmax(-1).tolist()
            for example, place in zip(swapped, places, strict=True):
                self.add(score, example.sample, self.answer(place))
        return {f"{name}_shuffled": value for name, value in _named(score).items()}

    def _with_other_pictures(self, example: SampleExample) -> SampleExample:
        """The sample that was asked for, with those of one that shows none of its, if any does."""
        samples = self.held_out.samples
        asked = samples[example.asked]
        draw = generator(self.setup.seed, 0, example.asked, "other pictures")
        pictures = example.pictures
        for index in draw.integers(len(samples), size=DRAWS).tolist():
            if set(asked.images).isdisjoint(samples[index].images):
                pictures = self.held_out_examples.load(index, 0).pictures
                break
        return replace(example, index=example.asked, sample=asked, pictures=pictures)

    def submit(self, held_out: HeldOut, path: Path, say: Callable[[str], None]) -> None:
        """Write the answers to every sample of the split, as its server takes them."""
        refuse_partial(self.held_out, self.settings.keys_to_answer(self.setup.data), self.root)
        samples = self.held_out.samples
        answers = {i: a for _, found in self.answered(held_out) for i, a in found.items()}
        broken = [samples[index].key for index, answer in answers.items() if answer is None]
        if broken:
            say(
                f"{len(broken)} {self.samples} whose picture cannot be read (the first: "
                f"{broken[0]}) are answered by {self.usual!r}"
            )
        found = {i: self.usual if answer is None else answer for i, answer in answers.items()}
        self.write(path, {samples[index].key: answer for index, answer in found.items()})

    @property
    def has_truth(self) -> bool:
        """Whether anybody says the right answer to a held-out sample."""
        return any(self.truth(sample) is not None for sample in self.held_out.samples)

    def notes(self) -> dict[str, list[str]]:
        """That there are no figures, where nobody says the right answers."""
        if self.has_truth:
            return super().notes()
        unknown = (
            f"the files do not say the right answers of {self.held_out.name}, and there are no "
            "figures of it; `vlp-fast submit` writes a run's own for the server"
        )
        return {"train": [], "held out": [unknown]}

    @cached_property
    def usual(self) -> Any:
        """The most frequent answer in training."""
        truths = Counter(truth for s in self.train.samples if (truth := self.truth(s)) is not None)
        return truths.most_common(1)[0][0]

    def draw(self, figure: Any, held_out: HeldOut) -> None:
        """Held-out samples with the model's answers."""
        draw_answers(self, figure, held_out)

    def loader(self, dataset: Dataset, shorter: tuple[int, ...] | None) -> SampleLoader:
        """What decodes the pictures of samples."""
        images = self.image_loader(dataset, shorter)
        return SampleLoader(dataset, images, seed=self.setup.seed)


def _named(score: Score) -> Figures:
    """Figures by names without spaces: "vqa, answers yes/no" is vqa_yes_no."""
    figures = {}
    for name, value in score.figures().items():
        words = "".join(c if c.isalnum() else " " for c in name).split()
        figures["_".join(word for word in words if word != "answers")] = value
    return figures
