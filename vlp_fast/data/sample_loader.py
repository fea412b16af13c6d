"""From a sample of a downstream data set to its decoded pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from vlp_fast.data.broken_image import BrokenImage
from vlp_fast.data.examples import REPLACEMENTS, Example, ImageLoader
from vlp_fast.data.printable import printable
from vlp_fast.data.randomness import generator
from vlp_fast.data.records import Dataset
from vlp_fast.data.samples import Sample
from vlp_fast.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleExample:
    """A sample as the tasks see it.

    Attributes:
        index: of the sample that is shown, in its data set.
        asked: of the sample that the order asked for; another one where that is broken.
        sample: what is said of the pictures.
        pictures: as many as the sample names, in its order.
        problem: why another sample is shown than the order asked for, or None.
    """

    index: int
    asked: int
    sample: Sample
    pictures: tuple[Example, ...]
    problem: str | None = None


class SampleLoader:
    """Makes the examples of a data set's samples.

    A sample of which a picture is broken is replaced as a whole, by another one with its own
    pictures: a question is never asked of a picture that it is not about.

    The decoded pictures of the latest sample are kept: the next one often shows the same, in an
    evaluation and where samples of one picture come together. A file that is decoded with its batch
    is not: where that fails it is asked for again, and may then be another picture.

    Args:
        dataset: with samples.
        images: shows the records.
        seed: of the run.
    """

    def __init__(self, dataset: Dataset, images: ImageLoader, *, seed: int) -> None:
        self._samples = dataset.samples
        self._name = dataset.name
        self._images = images
        self._seed = seed
        self._latest: dict[tuple[int, int, int], Example] = {}

    def look(self, shown: Sequence[int] | None = None) -> None:
        """Decode some pictures before the first is used.

        Args:
            shown: numbers of the samples that will be asked for; None for all.

        Raises:
            InputError: if most of the pictures are broken that these show.
        """
        asked = self._samples if shown is None else [self._samples[index] for index in shown]
        self._images.look(sorted({image for sample in asked for image in sample.images}))

    def load(self, index: int, epoch: int, step: int = 0) -> SampleExample:
        """Return the example of a sample, or of another if one of its pictures is broken.

        Raises:
            InputError: if all replacements are broken too.
        """
        try:
            return self._example(index, epoch, step)
        except BrokenImage as error:
            problem = str(error)
        draw = generator(self._seed, epoch, index, "replacement")
        count = min(REPLACEMENTS, len(self._samples))
        for other in draw.choice(len(self._samples), count, False).tolist():
            with contextlib.suppress(BrokenImage):
                found = self._example(other, epoch, step)
                instead = f"{problem}; sample {printable(found.sample.key)} is shown instead"
                return replace(found, asked=index, problem=instead)
        raise InputError(
            f"{problem}; so are pictures of {count} samples of {self._name} drawn in its place; "
            "repair the image folder"
        )

    def _example(self, index: int, epoch: int, step: int) -> SampleExample:
        sample = self._samples[index]
        kept, keyed = self._latest, (epoch, step)
        shown = {
            image: kept.get((image, *keyed)) or self._images.show(image, *keyed)
            for image in sample.images
        }
        self._latest = {
            (image, *keyed): picture
            for image, picture in shown.items()
            if isinstance(picture.image, Tensor)
        }
        pictures = tuple(shown[image] for image in sample.images)
        return SampleExample(index=index, asked=index, sample=sample, pictures=pictures)
