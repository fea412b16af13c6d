"""Foreign texts: never the picture's own, never one that is true of it, only from the pool."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vlp_fast.data.records import Dataset, Record
from vlp_fast.data.world.language import is_true
from vlp_fast.data.world.layouts import read_scenes
from vlp_fast.errors import InputError
from vlp_fast.tasks.pretraining.itm import draw_foreign_caption, draw_own_captions


def record(index: int, captions: tuple[str, ...]) -> Record:
    return Record(
        image_id=index,
        path=Path(f"{index}.png"),
        width=8,
        height=8,
        captions=captions,
        boxes=np.zeros((0, 4), np.float32),
        labels=np.zeros(0, np.int64),
        attributes=np.zeros(0, np.int64),
    )


def data(*captions: tuple[str, ...]) -> Dataset:
    records = tuple(record(i, texts) for i, texts in enumerate(captions))
    return Dataset(name="t", records=records, class_names=(), attribute_names=())


def drawn(dataset: Dataset, index: int, pool: int | None = None, times: int = 400) -> set[str]:
    draw = np.random.default_rng(0)
    return {draw_foreign_caption(dataset, index, draw, pool=pool) for _ in range(times)}


def test_every_foreign_caption_and_no_own_one() -> None:
    dataset = data(("a", "b"), ("b", "c"), ("d",), ("e", "f"))
    assert drawn(dataset, 0) == {"c", "d", "e", "f"}  # "b" is a text of image 0 as well
    assert drawn(dataset, 3) == {"a", "b", "c", "d"}


def test_images_are_equally_likely_however_many_texts_they_have() -> None:
    dataset = data(("own",), ("x",), tuple(f"y{i}" for i in range(9)))
    draw = np.random.default_rng(1)
    texts = [draw_foreign_caption(dataset, 0, draw) for _ in range(2000)]
    assert texts.count("x") / 2000 == pytest.approx(0.5, abs=0.04)


def test_the_pool_is_respected() -> None:
    dataset = data(("a",), ("b",), ("c",), ("d",))
    assert drawn(dataset, 0, pool=3) == {"b", "c"}
    assert drawn(dataset, 3, pool=3) == {"a", "b", "c"}
    assert drawn(dataset, 0, pool=99) == {"b", "c", "d"}


def test_a_caption_that_happens_to_be_true_is_not_foreign() -> None:
    dataset = replace(
        data(("a",), ("b",), ("c",), ("d",)), describes=lambda i, text: (i, text) == (0, "b")
    )
    assert drawn(dataset, 0) == {"c", "d"}
    assert drawn(dataset, 2) == {"a", "b", "d"}


def test_where_all_are_true_one_is_taken_after_all() -> None:
    dataset = replace(data(("a",), ("b",)), describes=lambda i, text: True)
    assert drawn(dataset, 0, times=20) == {"b"}


def test_foreign_captions_of_the_world_are_false_of_the_picture(
    dataset: Dataset, small_world: Path
) -> None:
    scenes = read_scenes(small_world)
    draw = np.random.default_rng(2)
    for index, own in enumerate(dataset.records):
        for _ in range(4):
            text = draw_foreign_caption(dataset, index, draw)
            assert not is_true(scenes[own.image_id], text)
        assert all(is_true(scenes[own.image_id], text) for text in own.captions)


@pytest.mark.parametrize("dataset", [data(("a",)), data(("a",), ("a",))])
def test_no_other_caption_is_an_error(dataset: Dataset) -> None:
    with pytest.raises(InputError, match=r"0\.png.*matching needs foreign ones"):
        draw_foreign_caption(dataset, 0, np.random.default_rng(0))


def test_images_of_one_caption_are_matched_with_those_of_others() -> None:
    dataset = replace(data(("a",), ("a",)), foreign_captions=("a", "b", "c"))
    assert drawn(dataset, 0, times=40) == {"b", "c"}


def test_one_other_caption_among_many_is_found() -> None:
    dataset = data(*[("a",)] * 500, ("b",))
    assert drawn(dataset, 0, times=40) == {"b"}
    assert drawn(dataset, 500, times=5) == {"a"}


def test_own_captions_repeat_only_when_there_are_too_few() -> None:
    draw = np.random.default_rng(3)
    for _ in range(50):
        assert len(set(draw_own_captions(("a", "b", "c"), 3, draw))) == 3
        five = draw_own_captions(("a", "b"), 5, draw)
        assert len(five) == 5
        assert sorted(five.count(t) for t in "ab") == [2, 3]
    firsts = [draw_own_captions(("a", "b", "c"), 1, draw)[0] for _ in range(300)]
    assert min(firsts.count(t) for t in "abc") > 60


def test_a_picture_without_a_caption_is_no_endless_search() -> None:
    with pytest.raises(ValueError, match="no caption"):
        draw_own_captions((), 1, np.random.default_rng(0))
