import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vlp_fast.data.examples import Example, ImageLoader
from vlp_fast.data.images import read_image
from vlp_fast.data.loader import Loader
from vlp_fast.data.order import EvaluationOrder, SampleOrder
from vlp_fast.data.records import Dataset, Record
from vlp_fast.data.sources import load_dataset
from vlp_fast.data.transforms import canvas_of, pad_images, resize
from vlp_fast.errors import InputError

Batch = tuple[torch.Tensor, tuple[tuple[int, int], ...], list[int], list[str | None]]


def collate(examples: list[Example], epoch: int, step: int) -> Batch:
    sizes = tuple(example.size for example in examples)
    images = pad_images([example.pixels for example in examples], canvas_of(sizes))
    return images, sizes, [e.index for e in examples], [e.problem for e in examples]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Twelve noisy images of different sizes with a box each."""
    records = []
    for i in range(12):
        width, height = 20 + 3 * i, 40 - 2 * i
        path = tmp_path / f"{i}.png"
        noise = np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        records.append(
            Record(
                image_id=100 + i,
                path=path,
                width=width,
                height=height,
                captions=(f"image {i}",),
                boxes=np.array([[1, 2, 11, 12]], dtype=np.float32),
                labels=np.array([i], dtype=np.int64),
                attributes=np.array([-1], dtype=np.int64),
            )
        )
    names = tuple(map(str, range(12)))
    return Dataset(name="test", records=tuple(records), class_names=names, attribute_names=())


def images_of(dataset: Dataset, *, cache: bool = False, max_pixels: int = 10**6) -> ImageLoader:
    return ImageLoader(
        dataset=dataset, shorter=(16, 24), longer=40, seed=3, cache=cache, max_pixels=max_pixels
    )


def test_an_example_is_the_resized_image_with_boxes_as_fractions(dataset: Dataset) -> None:
    example = images_of(dataset).load(2, 0)
    size = (example.image.size(1), example.image.size(2))
    assert size in {(22, 16), (33, 24)}
    pixels = read_image(dataset.records[2].path).pixels
    assert torch.equal(example.image, resize(pixels, size))
    assert (example.index, example.image_id, example.captions) == (2, 102, ("image 2",))
    expected = [6 / 26, 7 / 36, 10 / 26, 10 / 36]
    torch.testing.assert_close(example.boxes, torch.tensor([expected]), atol=1e-6, rtol=0)
    assert example.labels.tolist() == [2]
    assert example.attributes.tolist() == [-1]
    assert example.problem is None


def test_sizes_are_drawn_for_each_image_and_epoch(dataset: Dataset) -> None:
    images = images_of(dataset)
    sizes = {(i, e): images.load(i, e).image.shape for i in range(4) for e in range(12)}
    again = images_of(dataset)
    assert all(again.load(i, e).image.shape == shape for (i, e), shape in sizes.items())
    for i in range(4):
        assert len({sizes[i, e] for e in range(12)}) == 2
    assert len({tuple(min(sizes[i, e][1:]) for i in range(4)) for e in range(12)}) > 3


def test_no_resizing_keeps_the_file(dataset: Dataset) -> None:
    images = ImageLoader(dataset=dataset, shorter=None, longer=None, seed=0)
    assert images.load(5, 0).image.shape == (3, 30, 35)


def test_boxes_turn_with_the_picture(tmp_path: Path, dataset: Dataset) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    record = replace(dataset.records[0], path=path, width=40, height=20)
    turned = replace(dataset, records=(record,))
    for cache in (False, True):
        images = ImageLoader(dataset=turned, shorter=None, longer=None, seed=0, cache=cache)
        for _ in range(2):
            example = images.load(0, 0)
            # (1, 2, 11, 12) of 40x20, turned clockwise: x = 20 - y, y = x.
            expected = torch.tensor([[13 / 20, 6 / 40, 10 / 20, 10 / 40]])
            assert example.image.shape == (3, 40, 20)
            torch.testing.assert_close(example.boxes, expected, atol=1e-6, rtol=0)


def test_a_broken_image_is_replaced_and_reported(dataset: Dataset) -> None:
    path = dataset.records[4].path
    path.write_bytes(path.read_bytes()[:200])
    example = images_of(dataset).load(4, 0)
    assert example.index != 4
    shown = dataset.records[example.index]
    assert example.image_id == shown.image_id
    assert example.captions == shown.captions
    assert example.labels.tolist() == shown.labels.tolist()
    assert str(path) in str(example.problem)
    assert f"{shown.path.name} is shown instead" in str(example.problem)
    assert images_of(dataset).load(4, 0).index == example.index
    assert len({images_of(dataset).load(4, epoch).index for epoch in range(20)}) > 3


def test_images_beyond_the_cap_and_of_another_shape_are_replaced(dataset: Dataset) -> None:
    capped = images_of(dataset, max_pixels=1040)
    examples = [capped.load(i, 0) for i in range(12)]
    is_large = [r.width * r.height > 1040 for r in dataset.records]
    assert sum(is_large) == 4
    assert [e.problem is not None for e in examples] == is_large
    assert not any(is_large[e.index] for e in examples)
    Image.new("RGB", (90, 20)).save(dataset.records[1].path)
    assert "is 90x20, but the annotations say 23x38" in str(images_of(dataset).load(1, 0).problem)


def test_a_folder_that_breaks_while_it_is_used_is_an_error(dataset: Dataset) -> None:
    images = images_of(dataset)
    for record in dataset.records:
        record.path.write_bytes(b"<html>")
    with pytest.raises(InputError, match=r"3\.png: is not an image.*so are 12 images of test"):
        images.load(3, 0)


def steps_of(
    dataset: Dataset, *, workers: int, start: int = 0, cache: bool = False
) -> Iterator[tuple[int, Batch]]:
    return iter(
        Loader(
            order=SampleOrder(12, 4, 1, aspects=dataset.aspects()),
            load=images_of(dataset, cache=cache).load,
            collate=collate,
            num_workers=workers,
            steps=range(start, 9),
        )
    )


def same(first: tuple[int, Batch], second: tuple[int, Batch]) -> bool:
    return (
        first[0] == second[0]
        and torch.equal(first[1][0], second[1][0])
        and first[1][1:] == second[1][1:]
    )


@pytest.mark.parametrize(("workers", "cache"), [(0, True), (1, False), (2, False), (2, True)])
def test_steps_are_the_same_with_any_workers_and_from_any_start(
    dataset: Dataset, workers: int, cache: bool
) -> None:
    path = dataset.records[7].path
    path.write_bytes(path.read_bytes()[:99])
    expected = list(steps_of(dataset, workers=0))
    assert [step for step, _ in expected] == list(range(9))
    assert sum(problem is not None for _, batch in expected for problem in batch[3]) == 3
    for start in (0, 5):
        found = list(steps_of(dataset, workers=workers, start=start, cache=cache))
        assert len(found) == 9 - start
        assert all(same(a, b) for a, b in zip(expected[start:], found, strict=True))


def test_any_steps_in_any_number(dataset: Dataset) -> None:
    def load(steps: Sequence[int], workers: int) -> list[tuple[int, list[int]]]:
        loader = Loader(
            order=SampleOrder(12, 4, 1),
            load=images_of(dataset).load,
            collate=collate,
            num_workers=workers,
            steps=steps,
        )
        return [(step, batch[2]) for step, batch in loader]

    whole = load(range(8), 0)
    for workers in (0, 2):
        assert load((2, 3, 6, 7), workers) == [whole[step] for step in (2, 3, 6, 7)]


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_input_arrives_as_one_line(dataset: Dataset, workers: int) -> None:
    steps = steps_of(dataset, workers=workers)
    for record in dataset.records:
        record.path.write_bytes(b"")
    with pytest.raises(InputError) as caught:
        list(steps)
    assert "\n" not in str(caught.value)
    assert "repair the image folder" in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_bugs_are_not_disguised(dataset: Dataset, workers: int) -> None:
    def fail(examples: list[Example], epoch: int, step: int) -> Batch:
        raise ZeroDivisionError(f"step {step}")

    loader = Loader(
        order=EvaluationOrder(range(12), 5),
        load=images_of(dataset).load,
        collate=fail,
        num_workers=workers,
        steps=range(3),
    )
    with pytest.raises(ZeroDivisionError, match="step 0"):
        list(loader)


def test_workers_have_one_thread(dataset: Dataset) -> None:
    def count(examples: list[Example], epoch: int, step: int) -> int:
        return torch.get_num_threads()

    loader = Loader(
        order=EvaluationOrder(range(12), 5),
        load=images_of(dataset).load,
        collate=count,
        num_workers=2,
        steps=range(3),
    )
    assert [threads for _, threads in loader] == [1, 1, 1]
    assert len(loader) == 3


def test_memory_stays_flat_over_many_broken_images(dataset: Dataset) -> None:
    resource = pytest.importorskip("resource")
    for record in dataset.records[:6]:
        record.path.write_bytes(record.path.read_bytes()[:150])
    images = images_of(dataset)
    for i in range(600):
        images.load(i % 12, i)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(1500):
        images.load(i % 12, i)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


INTERRUPTED = """
import signal, sys, time
from vlp_fast.data.loader import Loader
from vlp_fast.data.order import EvaluationOrder

def load(index, epoch, step):
    time.sleep(0.05)
    return index

signals = []
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored
loader = Loader(
    order=EvaluationOrder(range(10**6), 1), load=load,
    collate=lambda examples, epoch, step: step, num_workers=2, steps=range(0, 10**6),
)
more = 20
steps = iter(loader)  # alive, with its workers, until Python ends
try:
    for step, _ in steps:
        if step == 3:
            # Only now, so that the workers have not inherited it.
            if sys.argv[1] == "handled":
                signal.signal(int(sys.argv[2]), lambda *_: signals.append(1))
            print("running", flush=True)
            if sys.argv[1] == "fails":
                raise ZeroDivisionError
        more -= len(signals)
        if not more:
            break
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130)
print("finished", flush=True)
"""


@pytest.mark.dist
@pytest.mark.parametrize(
    ("mode", "number", "code", "word", "error"),
    [
        ("default", signal.SIGINT, 130, "interrupted\n", ""),
        ("handled", signal.SIGINT, 0, "finished\n", ""),
        ("default", signal.SIGTERM, -signal.SIGTERM, "", ""),
        ("handled", signal.SIGTERM, 0, "finished\n", ""),
        ("fails", None, 1, "", "ZeroDivisionError\n"),
    ],
)
def test_signals_are_for_the_main_process(
    mode: str, number: int | None, code: int, word: str, error: str
) -> None:
    """Workers go on while the main process finishes what it wants to, and end with it, quietly."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, mode, str(number)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    # As the terminal does: to the main process and all workers at once.
    if number is not None:
        os.killpg(process.pid, number)
    try:
        output, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert (process.returncode, output, errors[-len(error) :]) == (code, word, error)
    assert bool(errors) is bool(error)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("workers outlived the main process")


def test_a_tree_on_disk_is_loaded_whole(
    coco_folder: Path, write_image: Callable[..., Path]
) -> None:
    dataset = load_dataset(coco_folder, "train")
    loader = Loader(
        order=EvaluationOrder(range(len(dataset)), 2),
        load=ImageLoader(dataset=dataset, shorter=(10,), longer=20, seed=0).load,
        collate=collate,
        num_workers=0,
        steps=range(3),
    )
    steps = list(loader)
    assert [batch[2] for _, batch in steps] == [[0, 1], [2, 3], [4]]
    blue = steps[0][1][0][0, 2]
    assert torch.equal(blue, torch.full((10, 20), 190, dtype=torch.uint8))


def test_the_real_photographs_load_without_a_problem(shared_data: Path) -> None:
    dataset = load_dataset(shared_data / "coco", "val", needs_boxes=True)
    images = ImageLoader(dataset=dataset, shorter=(64,), longer=107, seed=0)
    for index in range(0, len(dataset), 7):
        example = images.load(index, 0)
        assert example.problem is None
        assert min(example.image.shape[1:]) <= 64
        assert example.image.isfinite().all()
        corners = torch.cat(
            [
                example.boxes[:, :2] - example.boxes[:, 2:] / 2,
                example.boxes[:, :2] + example.boxes[:, 2:] / 2,
            ],
            dim=1,
        )
        assert ((corners > -1e-6) & (corners < 1 + 1e-6)).all()
        assert (example.boxes[:, 2:] > 0).all()
        record = dataset.records[index]
        scale = torch.tensor([record.width, record.height] * 2)
        torch.testing.assert_close(corners * scale, torch.from_numpy(record.boxes))
