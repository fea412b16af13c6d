"""DALI's pixels against those of `read_image` and `resize`, on a CPU."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hard_images import BROKEN, SIZE, hard_images
from torch import Tensor

from vlp_fast.data.broken_image import BrokenImage
from vlp_fast.data.encoded import EncodedBatch, EncodedImage, EncodedReader
from vlp_fast.data.images import read_image
from vlp_fast.data.transforms import resize, resized
from vlp_fast.errors import InputError

pytest.importorskip("nvidia.dali", reason="needs the extra [dali]")

from nvidia.dali.pipeline import Pipeline

from vlp_fast.data.dali_pipeline import DaliPipeline, OutOfOrder

FILES = hard_images()
NOT_DECODED_BY_DALI = {"gap.jpg"}
"""JPEG that Pillow reads and DALI does not."""
WIDTH, HEIGHT = SIZE
BORDER, INSIDE = 20, 1
"""Levels of 255: DALI repeats the border of what it shrinks, torch weighs what is there."""


@pytest.fixture(scope="module")
def pipeline() -> DaliPipeline:
    return DaliPipeline(threads=1, device=torch.device("cpu"))


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    """file(name) writes one of the hard images."""

    def write(name: str) -> Path:
        (tmp_path / name).write_bytes(FILES[name])
        return tmp_path / name

    return write


def batch_of(*images: EncodedImage, canvas: tuple[int, int] = (HEIGHT, WIDTH)) -> EncodedBatch:
    return EncodedBatch(images=images, canvas=canvas)


def shown(pipeline: DaliPipeline, path: Path, size: tuple[int, int]) -> Tensor:
    pixels = pipeline.decode(batch_of(EncodedReader()(path).shown(size), canvas=size))
    assert pixels is not None
    return pixels[0]


@pytest.mark.parametrize("name", sorted(set(FILES) - set(BROKEN) - NOT_DECODED_BY_DALI))
def test_every_file_has_the_very_pixels(
    pipeline: DaliPipeline, file: Callable[[str], Path], name: str
) -> None:
    path = file(name)
    expected = read_image(path).pixels
    found = shown(pipeline, path, (expected.size(1), expected.size(2)))
    assert found.dtype == torch.uint8
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_refused_by_both(
    pipeline: DaliPipeline, file: Callable[[str], Path], name: str
) -> None:
    path = file(name)
    with pytest.raises(BrokenImage) as expected:
        read_image(path)
    reader = EncodedReader()
    try:
        image = reader(path).shown((HEIGHT, WIDTH))
    except BrokenImage as error:  # by its header
        assert str(error) == str(expected.value)
        return
    assert pipeline.decode(batch_of(image)) is None
    reader.doubted.add(path)
    with pytest.raises(BrokenImage) as found:
        reader(path)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("name", sorted(NOT_DECODED_BY_DALI))
def test_what_only_pillow_reads_is_sent_as_pixels_once_it_is_doubted(
    pipeline: DaliPipeline, file: Callable[[str], Path], name: str
) -> None:
    path, reader = file(name), EncodedReader()
    assert pipeline.decode(batch_of(reader(path).shown((HEIGHT, WIDTH)))) is None
    reader.doubted.add(path)
    pixels = pipeline.decode(batch_of(reader(path).shown((HEIGHT, WIDTH))))
    assert pixels is not None
    assert torch.equal(pixels[0], read_image(path).pixels)


def test_a_refused_batch_costs_no_other(
    pipeline: DaliPipeline, file: Callable[[str], Path]
) -> None:
    reader = EncodedReader()
    good = reader(file("plain.jpg")).shown((HEIGHT, WIDTH))
    bad = reader(file("truncated.jpg")).shown((HEIGHT, WIDTH))
    for tag, image in enumerate([good, bad, bad, good, bad, good]):
        pipeline.feed(batch_of(good, image), tag)
    taken = [pipeline.take(tag) for tag in range(6)]
    assert [pixels is None for pixels in taken] == [False, True, True, False, True, False]
    assert all(torch.equal(p, taken[0]) for p in taken if p is not None and taken[0] is not None)


def test_another_batch_than_the_one_whose_turn_it_is_is_noticed(
    pipeline: DaliPipeline, file: Callable[[str], Path]
) -> None:
    pipeline.feed(batch_of(EncodedReader()(file("plain.jpg")).shown((HEIGHT, WIDTH))), 7)
    with pytest.raises(OutOfOrder):
        pipeline.take(8)


def test_a_device_that_dali_cannot_use_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(self: Pipeline) -> None:
        raise RuntimeError("no kernel image\nis available")

    monkeypatch.setattr(Pipeline, "build", build)
    with pytest.raises(InputError, match=r"DALI cannot work here \(no kernel image is available\)"):
        DaliPipeline(threads=1, device=torch.device("cpu"))


def test_padding_is_zero_and_pixels_are_channels_last(
    pipeline: DaliPipeline, file: Callable[[str], Path]
) -> None:
    image = EncodedReader()(file("plain.jpg"))
    pixels = pipeline.decode(
        batch_of(image.shown((20, 30)), image.shown((40, 10)), canvas=(64, 32))
    )
    assert pixels is not None
    assert pixels.shape == (2, 3, 64, 32)
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    for one, (height, width) in zip(pixels, ((20, 30), (40, 10)), strict=True):
        assert one[:, :height, :width].float().mean() > 50
        assert not one[:, height:].any()
        assert not one[:, :, width:].any()


def difference(pipeline: DaliPipeline, path: Path, size: tuple[int, int]) -> Tensor:
    """(H, W), the largest of the channels."""
    expected = resize(read_image(path).pixels, size)
    return (shown(pipeline, path, size).int() - expected.int()).abs().amax(0)


@pytest.mark.parametrize(("height", "width"), [(86, 122), (60, 85), (44, 62), (150, 61)])
def test_larger_ones_differ_by_rounding_alone(
    pipeline: DaliPipeline, file: Callable[[str], Path], height: int, width: int
) -> None:
    assert difference(pipeline, file("plain.jpg"), (height, width)).max() <= INSIDE


@pytest.mark.parametrize(("height", "width"), [(21, 30), (30, 43), (38, 54)])
def test_smaller_ones_differ_at_the_border(
    pipeline: DaliPipeline, file: Callable[[str], Path], height: int, width: int
) -> None:
    found = difference(pipeline, file("plain.jpg"), (height, width))
    assert found[1:-1, 1:-1].max() <= INSIDE
    assert found.max() <= BORDER


def test_photographs(pipeline: DaliPipeline, shared_data: Path) -> None:
    """At both papers' sizes and smaller ones."""
    paths = sorted((shared_data / "coco" / "images").iterdir())[::280]
    assert len(paths) == 10
    for path in paths:
        size = read_image(path).size
        assert difference(pipeline, path, size).max() == 0
        assert difference(pipeline, path, resized(size, 600, 1000)).max() <= INSIDE
        found = difference(pipeline, path, resized(size, 160, None))
        assert found[1:-1, 1:-1].max() <= INSIDE
        assert found.max() <= BORDER


def test_want_of_memory_is_no_fault_of_a_file(
    file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = DaliPipeline(threads=1, device=torch.device("cpu"))

    class Poor:
        def outputs(self) -> None:
            raise RuntimeError("Critical error in pipeline: CUDA allocation failed: out of memory")

    monkeypatch.setattr(pipeline, "_pipeline", Poor())
    with pytest.raises(InputError, match=r"not enough memory .* --train\.batch-size"):
        pipeline.take(0)
