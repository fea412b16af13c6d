"""Steps by DALI are those of `Loader`: the same samples, replacements and sizes, in one order."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hard_images import BROKEN, hard_images
from torch import Tensor

from vlp_fast.data.encoded import EncodedBatch, EncodedImage, EncodedReader
from vlp_fast.data.examples import Example, ImageLoader
from vlp_fast.data.images import read_image
from vlp_fast.data.order import Order, SampleOrder
from vlp_fast.data.records import Dataset, Record
from vlp_fast.data.sample_loader import SampleExample, SampleLoader
from vlp_fast.data.samples import Sample
from vlp_fast.data.steps import steps_of
from vlp_fast.data.transforms import canvas_of, pad_images
from vlp_fast.errors import InputError

pytest.importorskip("nvidia.dali", reason="needs the extra [dali]")

from vlp_fast.data.dali_loader import DaliLoader
from vlp_fast.data.dali_pipeline import DaliPipeline, OutOfOrder

CPU = torch.device("cpu")
BATCH, STEPS = 6, 18
FILES = [name for name in hard_images() if name != "huge.jpg"] + ["gone.jpg"]
"""More than half of them good; `gone.jpg` is not there."""


@dataclass(frozen=True)
class Batch:
    """What the tests collate."""

    images: Any
    sizes: tuple[tuple[int, int], ...]
    shown: tuple[int, ...]
    problems: tuple[str | None, ...]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("hard")
    for name, content in hard_images().items():
        (folder / name).write_bytes(content)
    records = tuple(record_of(i, folder / name) for i, name in enumerate(FILES))
    return Dataset(name="hard", records=records, class_names=("thing",), attribute_names=())


def record_of(index: int, path: Path) -> Record:
    return Record(
        image_id=index,
        path=path,
        width=61,
        height=43,
        captions=(f"image {index}",),
        boxes=np.zeros((0, 4), dtype=np.float32),
        labels=np.zeros(0, dtype=np.int64),
        attributes=np.zeros(0, dtype=np.int64),
    )


def collate(examples: list[Example], epoch: int, step: int) -> Batch:
    sizes = tuple(example.size for example in examples)
    canvas, images = canvas_of(sizes, 8), [example.image for example in examples]
    encoded = tuple(image for image in images if isinstance(image, EncodedImage))
    return Batch(
        images=EncodedBatch(images=encoded, canvas=canvas)
        if encoded
        else pad_images([example.pixels for example in examples], canvas),
        sizes=sizes,
        shown=tuple(example.index for example in examples),
        problems=tuple(example.problem for example in examples),
    )


def images_of(dataset: Dataset, reader: Any) -> ImageLoader:
    return ImageLoader(dataset=dataset, shorter=(30, 50), longer=90, seed=3, reader=reader)


def order_of(dataset: Dataset) -> Order:
    return SampleOrder(len(dataset.records), BATCH, 5)


def steps(
    dataset: Dataset, start: int = 0, end: int = STEPS, *, by_dali: bool = True
) -> Iterator[tuple[int, Batch]]:
    reader = EncodedReader() if by_dali else read_image
    return steps_of(
        order=order_of(dataset),
        load=images_of(dataset, reader).load,
        collate=collate,
        reader=reader,
        num_workers=0,
        steps=range(start, end),
        device=CPU,
    )


@pytest.fixture(scope="module")
def whole(dataset: Dataset) -> dict[int, Batch]:
    return dict(steps(dataset))


def test_samples_replacements_and_sizes_are_those_of_the_other_decoder(
    dataset: Dataset, whole: dict[int, Batch]
) -> None:
    problems = 0
    for (step, found), (other, expected) in zip_longest(
        whole.items(), steps(dataset, by_dali=False)
    ):
        assert step == other
        assert (found.shown, found.sizes) == (expected.shown, expected.sizes)
        assert found.problems == expected.problems
        assert found.images.shape == expected.images.shape
        difference = (found.images.int() - expected.images.int()).abs()
        assert difference.float().mean() < 0.5
        problems += sum(problem is not None for problem in found.problems)
    assert problems > 5


@pytest.mark.parametrize("start", [1, 7, STEPS - 1])
def test_a_range_may_begin_anywhere(dataset: Dataset, whole: dict[int, Batch], start: int) -> None:
    for step, batch in steps(dataset, start):
        assert batch.shown == whole[step].shown
        assert torch.equal(batch.images, whole[step].images)


def test_any_steps_are_those_of_the_whole(dataset: Dataset, whole: dict[int, Batch]) -> None:
    reader = EncodedReader()
    loader = DaliLoader(
        order=order_of(dataset),
        load=images_of(dataset, reader).load,
        collate=collate,
        doubt=reader.doubted.add,
        threads=2,
        device=CPU,
        steps=range(1, STEPS, 2),
    )
    for step, batch in loader:
        assert batch.shown == whole[step].shown
        for mine, theirs in zip(batch.images, whole[step].images, strict=True):
            assert torch.equal(mine, theirs)


def test_a_pipeline_out_of_order_is_built_anew(
    dataset: Dataset, whole: dict[int, Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    take, built = DaliPipeline.take, []

    def wrong_once(self: DaliPipeline, tag: int) -> Tensor | None:
        if tag == 4 and not built:
            built.append(self)
            raise OutOfOrder
        return take(self, tag)

    monkeypatch.setattr(DaliPipeline, "take", wrong_once)
    for step, batch in steps(dataset, 2, 8):
        assert torch.equal(batch.images, whole[step].images)
    assert built


def test_a_step_that_fails_without_a_bad_file_is_told(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DaliPipeline, "take", lambda self, tag: None)
    alone = lambda self, batch: torch.zeros(1) if len(batch.images) == 1 else None
    monkeypatch.setattr(DaliPipeline, "decode", alone)
    with pytest.raises(InputError, match=r"DALI fails on 6 images .* one by one"):
        next(steps(dataset))


def test_what_loading_raises_comes_through(dataset: Dataset) -> None:
    def load(index: int, epoch: int, step: int) -> Example:
        raise InputError("no more")

    loader = DaliLoader(
        order=order_of(dataset),
        load=load,
        collate=collate,
        doubt=set[Path]().add,
        threads=1,
        device=CPU,
        steps=range(3),
    )
    with pytest.raises(InputError, match="no more"):
        list(loader.ahead())


@pytest.mark.parametrize("name", ["gap.jpg", "truncated.jpg"])
def test_samples_about_one_picture_survive_that_it_is_refused(dataset: Dataset, name: str) -> None:
    refused, good = FILES.index(name), FILES.index("plain.jpg")
    samples = tuple(
        Sample(key=key, images=(image,), text="")
        for key, image in enumerate([refused, good, refused])
    )
    asked, reader = replace(dataset, samples=samples), EncodedReader()
    load = SampleLoader(asked, images_of(asked, reader), seed=3).load

    def collate_pictures(examples: list[SampleExample], epoch: int, step: int) -> Batch:
        return collate([picture for e in examples for picture in e.pictures], epoch, step)

    loader = DaliLoader(
        order=SampleOrder(3, 1, 0),
        load=load,
        collate=collate_pictures,
        doubt=reader.doubted.add,
        threads=1,
        device=CPU,
        steps=range(6),
    )
    shown = [batch.shown for _, batch in loader]
    assert len(shown) == 6
    assert ((refused,) in shown) == (name not in BROKEN)


@pytest.mark.exhaustive
def test_memory_is_flat_over_ten_thousand_bad_files(dataset: Dataset) -> None:
    """With one bad file in ten; and over 300 pipelines."""
    before = 0
    for step, _ in steps(dataset, 0, 10_000 // BATCH):
        if step == 200:
            before = resident()
    assert resident() - before < 60
    before = resident()
    for _ in range(300):
        DaliPipeline(threads=1, device=CPU)
    assert resident() - before < 60


def resident() -> int:
    """MiB that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 // 1024
