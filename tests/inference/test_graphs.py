"""Recorded buckets: when, which, and that a replay says the same."""

import dataclasses
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import vlp_fast
from tests.inference.conftest import Drawn
from vlp_fast.inference.graphs import Graphs
from vlp_fast.inference.predictor import Predictor


class Recorder:
    """Stands in for a GPU: a replay knows the values of its own inputs alone, as a graph does."""

    def __init__(self) -> None:
        self.recorded = 0
        self.replayed = 0

    def __call__(self, function: Callable[..., Tensor], *inputs: Tensor) -> Callable[..., Tensor]:
        self.recorded += 1
        static = [value.clone() for value in inputs]

        def replay(*others: Tensor) -> Tensor:
            self.replayed += 1
            for kept, other in zip(static, others, strict=True):
                assert (kept.shape, kept.dtype) == (other.shape, other.dtype)
                kept.copy_(other)
            return function(*static).clone()

        return replay


def double(x: Tensor) -> Tensor:
    return 2 * x


def test_a_bucket_is_recorded_when_it_comes_again() -> None:
    recorder = Recorder()
    graphs = Graphs(recorder)
    for number in range(4):
        assert graphs("one", double, torch.tensor([number])).item() == 2 * number
        assert recorder.recorded == (number > 0)
    assert recorder.replayed == 3
    assert graphs("other", double, torch.tensor([5, 6])).tolist() == [10, 12]
    assert recorder.recorded == 1


def test_what_has_not_come_for_longest_is_given_up() -> None:
    recorder = Recorder()
    graphs = Graphs(recorder, limit=2)
    for bucket in ("a", "a", "b", "b", "a", "c", "a", "b"):
        graphs(bucket, double, torch.ones(1))
    assert recorder.recorded == 2  # "b" gave way to "c", and came anew
    graphs("b", double, torch.ones(1))
    assert recorder.recorded == 3


def test_what_cannot_be_recorded_is_computed_as_it_was() -> None:
    def fails(function: Callable[..., Tensor], *inputs: Tensor) -> Callable[..., Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    graphs = Graphs(fails)
    graphs("one", double, torch.ones(1))
    with pytest.warns(UserWarning, match="without a CUDA graph: operation not permitted when"):
        assert graphs("one", double, torch.ones(1)).item() == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert graphs("one", double, torch.ones(1)).item() == 2


def test_recorded_answers_are_those_of_other_pictures_and_texts(drawn: Drawn) -> None:
    """By whatever differs besides the values: nothing of the first call may stay in a graph."""
    plain = vlp_fast.load("vqa_soho_small_world", device="cpu")
    recorder = Recorder()
    model = recorded(plain, recorder)
    asked = [
        (drawn.paths[number], question)
        for number in range(4)
        for question in ("what color is the circle?", "what color is the square?", "how many?")
    ]
    for picture, question in asked:
        one, other = plain.answer(picture, question), model.answer(picture, question)
        assert one.ranked == other.ranked
    assert 0 < recorder.recorded < recorder.replayed == len(asked) - recorder.recorded


def test_recorded_boxes_captions_and_matches(e2e_vlp: Predictor, drawn: Drawn) -> None:
    recorder = Recorder()
    model = recorded(e2e_vlp, recorder)
    for number in range(3):
        pictures = drawn.paths[2 * number : 2 * number + 2]
        found, expected = model.detect(pictures), e2e_vlp.detect(pictures)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.boxes, other.boxes)
        assert model.caption(pictures) == e2e_vlp.caption(pictures)
        texts = ["a circle", "a star"]
        np.testing.assert_array_equal(model.match(pictures, texts), e2e_vlp.match(pictures, texts))
    assert recorder.replayed


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["e2e_vlp_small_world", "soho_small_world"])
def test_a_gpu_replays_what_it_computes(name: str, drawn: Drawn) -> None:
    plain, model = (vlp_fast.load(name, device="cuda", graphs=graphs) for graphs in (False, True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in drawn.paths:
            np.testing.assert_allclose(
                model.match(path, "a red circle"), plain.match(path, "a red circle"), atol=1e-6
            )


def recorded(plain: Predictor, recorder: Recorder) -> Predictor:
    return Predictor(dataclasses.replace(plain.trained, graphs=Graphs(recorder)))
