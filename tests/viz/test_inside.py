"""How much attention is in boxes, against sums by hand; what a trained model's attention tells."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vlp_fast
from vlp_fast.data.examples import Example
from vlp_fast.inference.results import TextAttention
from vlp_fast.viz.inside import (
    covered,
    named_words,
    queries_inside,
    share_inside,
    words_inside,
)

NAMES = ("circle", "star", "traffic light")


def example(*objects: tuple[int, tuple[float, float, float, float]]) -> Example:
    """Classes and boxes (cx, cy, w, h)."""
    return Example(
        index=0,
        image_id=0,
        image=torch.zeros(3, 8, 8, dtype=torch.uint8),
        captions=("a text",),
        boxes=torch.tensor([box for _, box in objects]).view(-1, 4),
        labels=torch.tensor([label for label, _ in objects], dtype=torch.int64),
        attributes=torch.full((len(objects),), -1),
    )


def test_cells_are_covered_by_the_union_of_boxes() -> None:
    corners = np.array([[0.0, 0.0, 0.5, 0.5], [0.25, 0.25, 0.75, 0.5]])
    parts = covered(corners, (2, 4))
    np.testing.assert_allclose(parts, [[1, 1, 0.5, 0], [0, 0, 0, 0]], atol=1e-9)
    assert covered(np.zeros((0, 4)), (2, 2)).sum() == 0


def test_even_attention_has_the_share_of_the_area() -> None:
    corners = np.array([[0.1, 0.2, 0.6, 0.9]])
    even = np.full((3, 4, 4), 0.01, np.float32)
    area = covered(corners, (4, 4)).mean()
    assert area == pytest.approx(0.5 * 0.7, abs=0.03)
    np.testing.assert_allclose(share_inside(even, corners), area, rtol=1e-6)
    one = np.zeros((4, 4))
    one[1, 1] = 0.3
    assert share_inside(one, np.array([[0.25, 0.25, 0.375, 0.5]])) == pytest.approx(0.5)
    assert np.isnan(share_inside(np.zeros((4, 4)), corners))


def test_words_name_classes_that_are_there() -> None:
    shown = example((0, (0.5, 0.5, 0.2, 0.2)), (0, (0.2, 0.2, 0.2, 0.2)), (2, (0.5, 0.5, 1, 1)))
    words = ("[CLS]", "circles", "and", "a", "star", "traffic", "light", "circle")
    found = named_words(words, shown, NAMES)
    assert [place for place, _ in found] == [1, 7]
    np.testing.assert_allclose(found[0][1], [[0.4, 0.4, 0.6, 0.6], [0.1, 0.1, 0.3, 0.3]], atol=1e-6)


class Fixed:
    """A model whose words look where they are told."""

    def attention(self, picture: Any, text: str) -> TextAttention:
        words = ("[CLS]", *text.split(), "[SEP]")
        weights = np.zeros((2, 1, len(words), 2, 2), np.float32)
        weights[:, :, words.index("circle"), 0, 0] = 0.25  # all in the box
        weights[1, :, words.index("circle"), 1, 1] = 0.75
        if "red" in words:
            weights[:, :, words.index("red")] = 0.1
        weights[:, :, 0, 1, 1] = 1.0
        return TextAttention(words=words, weights=weights)


def test_what_is_measured_is_a_mean_by_layer_and_head() -> None:
    shown = example((0, (0.25, 0.25, 0.5, 0.5)))
    found = words_inside(Fixed(), [(shown, "red circle")] * 2, NAMES)  # type: ignore[arg-type]
    assert found is not None
    assert (found.count, found.area) == (2, 0.25)
    np.testing.assert_allclose(found.inside, [[1.0], [0.25]])
    np.testing.assert_allclose(found.on_picture, [[0.25], [1.0]])
    assert found.others is not None
    np.testing.assert_allclose(found.others, [[0.25], [0.25]], rtol=1e-6)
    none = words_inside(Fixed(), [(example(), "red circle")], NAMES)  # type: ignore[arg-type]
    assert none is None
    alone = words_inside(Fixed(), [(shown, "circle")], NAMES)  # type: ignore[arg-type]
    assert alone is not None
    assert alone.others is None, "[CLS] and [SEP] are no other words"


@pytest.fixture(scope="module")
def texts(small_drawings: Path) -> list[tuple[Example, str]]:
    """Drawings with a caption each."""
    from vlp_fast.data.config import DataConfig
    from vlp_fast.data.sources.drawn_world import load_drawn_world
    from vlp_fast.inference.pictures import open_picture
    from vlp_fast.ops.boxes import xyxy_to_cxcywh

    (train,) = load_drawn_world(small_drawings, ["train"], missing_images="error")
    found = []
    for record in train.records[:16]:
        opened = open_picture(record.path, DataConfig(shorter_held_out=None)).example
        size = torch.tensor([record.width, record.height] * 2)
        boxes = xyxy_to_cxcywh(torch.from_numpy(record.boxes) / size)
        labels = torch.from_numpy(record.labels)
        given = vars(opened) | {"boxes": boxes, "labels": labels}
        found.append((Example(**given), record.captions[0]))
    return found


@pytest.mark.parametrize("name", ["e2e_vlp_small_world", "soho_small_world"])
def test_words_of_trained_models_look_at_their_things(
    name: str, texts: list[tuple[Example, str]]
) -> None:
    names = ("circle", "square", "star", "triangle")
    model = vlp_fast.load(name, device="cpu")
    found = words_inside(model, texts, names)
    assert found is not None
    assert found.count > 8
    assert found.others is not None
    assert found.inside.mean() > 1.5 * found.area
    swapped = words_inside(model, texts, (names[1], names[0], *names[:1:-1]))
    assert swapped is None or swapped.count < found.count, "names are of classes"


def test_queries_of_a_trained_model_look_at_their_boxes(texts: list[tuple[Example, str]]) -> None:
    model = vlp_fast.load("e2e_vlp_small_world", device="cpu")
    found = queries_inside(model, [(shown, None) for shown, _ in texts], 0.5)
    assert found is not None
    assert found.others is None
    assert found.count >= 16
    assert found.inside.mean() > 1.5 * found.area
    np.testing.assert_allclose(found.on_picture, 1, atol=1e-5)
    assert queries_inside(model, [(texts[0][0], None)], 1.0) is None
