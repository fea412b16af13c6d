"""What tasks over samples have in common: a text beside each of its pictures, a head on [CLS]."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vlp_fast.data.given_paths import only_root
from vlp_fast.data.leak import without_training_pictures
from vlp_fast.data.order import Order, SampleOrder
from vlp_fast.data.printable import printable
from vlp_fast.data.records import Dataset
from vlp_fast.data.sample_loader import SampleLoader
from vlp_fast.data.submissions.complete import refuse_partial
from vlp_fast.errors import InputError
from vlp_fast.metrics.score import Score
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.downstream.classifiers import build_classifier
from vlp_fast.tasks.downstream.config import SampleTaskConfig
from vlp_fast.tasks.downstream.cut_texts import FEW, share_of_cut
from vlp_fast.tasks.downstream.picture import draw_answers
from vlp_fast.tasks.downstream.sample_batch import SampleInputs, collate_samples
from vlp_fast.tasks.downstream.scoring import (
    answered,
    majority_figures,
    sample_figures,
    shuffled_figures,
)
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.step import StepOutput
from vlp_fast.tasks.task import Figures, Learner, Task


class SampleTask(Task):
    """A task over the samples of a downstream data set."""

    settings: SampleTaskConfig
    samples = "samples"
    panel_rows = 2

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

    def check(self) -> None:
        """Somebody says the right answers, or nothing could be learnt."""
        if all(self.truth(sample) is None for sample in self.train.samples):
            raise InputError(
                f"{printable(self.root)}: the files do not say the right answers of "
                f"{self.train.name}, and nothing can be learnt from it; train on another split "
                "with --data.train-split"
            )

    def heads(self, width: int) -> nn.Module:
        """The classifier."""
        return build_classifier(
            self.settings.head, width, self.num_classes, pictures=self.settings.pictures
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
        samples, length = [e.sample for e in examples], self.setup.data.max_text_length
        texts = [self.tokenizer.encode(self.text(sample), length) for sample in samples]
        return collate_samples(examples, texts, self.targets(samples), self.learner.model)

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

    def figures(self, held_out: HeldOut) -> Figures:
        """Losses and the task's own score; without the right pictures, too, if asked for."""
        figures = sample_figures(self, held_out)
        if figures and self.settings.shuffled:
            figures |= shuffled_figures(self, held_out)
        return figures

    def remarks(self, figures: Figures, held_out: HeldOut) -> list[str]:
        """That nothing was learnt which tells samples apart, where that is so."""
        majority = majority_figures(self, held_out) if figures else {}
        name = next(iter(majority), None)
        if name is None or figures[name] > majority[name]:
            return []
        return [
            f"at chance: {name} {figures[name]:.2f} is not above {majority[name]:.2f}, which the "
            f"most frequent answer in training ({self.usual!r}) scores on the same {self.samples}"
        ]

    def submit(self, held_out: HeldOut, path: Path, say: Callable[[str], None]) -> None:
        """Write the answers to every sample of the split, as its server takes them."""
        refuse_partial(self.held_out, self.settings.keys_to_answer(self.setup.data), self.root)
        samples = self.held_out.samples
        answers = {i: a for *_, found in answered(self, held_out) for i, a in found.items()}
        broken = [samples[index].key for index, answer in answers.items() if answer is None]
        if broken:
            say(
                f"{len(broken)} {self.samples} whose picture cannot be read (the first: "
                f"{broken[0]}) are answered by {self.usual!r}"
            )
        found = {i: self.usual if answer is None else answer for i, answer in answers.items()}
        if held_out.team.rank == 0:
            self.write(path, {samples[index].key: answer for index, answer in found.items()})

    @property
    def has_truth(self) -> bool:
        """Whether anybody says the right answer to a held-out sample."""
        return any(self.truth(sample) is not None for sample in self.held_out.samples)

    def notes(self) -> dict[str, list[str]]:
        """That texts are cut, and that nobody says the right answers, where these are so."""
        notes, length = super().notes(), self.setup.data.max_text_length
        share = share_of_cut(self.tokenizer, [*map(self.text, self.train.samples)], length)
        if share > FEW:
            notes["train"].append(
                f"{100 * share:.0f} % of {self.samples} are longer than --data.max-text-length "
                f"{length} and cut"
            )
        if not self.has_truth:
            notes["held out"].append(
                f"the files do not say the right answers of {self.held_out.name}, and there are no "
                "figures of it; `vlp-fast submit` writes a run's own for the server"
            )
        return notes

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
