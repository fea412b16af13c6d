"""What words and queries look at: weights of the model's own layers, of cells in their places."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.inference.conftest import Drawn, untrained
from vlp_fast.errors import InputError
from vlp_fast.inference.graphs import Graphs
from vlp_fast.inference.predictor import Predictor
from vlp_fast.ops.packing import make_packing
from vlp_fast.tasks.downstream.config import EntailmentConfig
from vlp_fast.tasks.images import batch_images

TEXT = "a red circle on grass"


def first_layer(model: Predictor, picture: object, text: str) -> torch.Tensor:
    """(N, L, h, w) of the first layer: a softmax over one whole sequence, with positions."""
    trained, system = model.trained, model.trained.model
    (opened,) = model._opened([picture])
    ids = trained.tokenizer.encode(text, 99)
    images, sizes, grid = batch_images([opened.example], system)
    packing = make_packing([len(ids)], [0], grid)
    block = system.encoder.layers[0]
    layer = block.attention
    with torch.no_grad():
        seen = system.see(images, grid, sizes, codes=trained.codes)
        rows, positions = system.joined_rows(torch.tensor(ids), seen, grid, packing)
        rows = block.norm1(rows) if block.norm_first else rows
        q, k, _ = layer.project(rows, positions).double().unbind(1)
    scores = torch.einsum("ine,jne->nij", q, k) / layer.head_dim**0.5
    return scores.softmax(-1)[:, : len(ids), len(ids) :].unflatten(-1, grid.sizes[0])


@pytest.mark.parametrize("system", ["e2e_vlp", "soho"])
def test_words_look_as_the_layer_does(
    system: str, drawn: Drawn, request: pytest.FixtureRequest
) -> None:
    model: Predictor = request.getfixturevalue(system)
    wide = Image.open(drawn.paths[1]).resize((96, 64))
    found = model.attention([drawn.paths[0], wide], [TEXT, "one star"])
    assert found[0].words == ("[CLS]", "a", "red", "circle", "on", "grass", "[SEP]")
    for picture, text, one in zip([drawn.paths[0], wide], [TEXT, "one star"], found, strict=True):
        expected = first_layer(model, picture, text)
        assert one.weights.shape[1:] == expected.shape
        np.testing.assert_allclose(one.weights[0], expected, atol=2e-6)
        assert (one.weights.sum((-1, -2)) < 1 + 1e-5).all()
    height, width = found[1].weights.shape[-2:]
    assert width > height
    alone = model.attention(drawn.paths[0], TEXT)
    np.testing.assert_array_equal(alone.weights, found[0].weights)


def test_queries_look_at_what_they_find(e2e_vlp: Predictor, drawn: Drawn) -> None:
    """The weight inside of a query's own box is more than the box's share of the picture."""
    inside, areas = [], []
    for one in e2e_vlp.object_attention(drawn.paths[:12]):
        assert one.weights.shape[2] == len(one.objects)
        np.testing.assert_allclose(one.weights.sum((-1, -2)), 1, atol=1e-5)
        cells = 64 / one.weights.shape[-1]
        for place, (x1, y1, x2, y2) in enumerate(one.objects.boxes / cells):
            rows, columns = np.ogrid[: one.weights.shape[-2], : one.weights.shape[-1]]
            is_in = (y1 < rows + 0.5) & (rows + 0.5 < y2) & (x1 < columns + 0.5)
            is_in = is_in & (columns + 0.5 < x2)
            inside.append(one.weights[-1, :, place].mean(0)[is_in].sum())
            areas.append(is_in.mean())
    assert np.mean(inside) > 2 * np.mean(areas)


def test_objects_are_those_that_are_detected(e2e_vlp: Predictor, drawn: Drawn) -> None:
    for texts in (None, TEXT):
        expected = e2e_vlp.detect(drawn.paths[2], texts)
        found = e2e_vlp.object_attention(drawn.paths[2], texts)
        np.testing.assert_allclose(found.objects.boxes, expected.boxes, atol=1e-4)
        assert found.objects.attributes == expected.attributes
        assert (found.weights.sum((-1, -2)) < 1 + 1e-5).all(), "a part may look at the text"
    nothing = e2e_vlp.object_attention(drawn.paths[2], threshold=1.0)
    assert nothing.weights.shape[2:] == (0, 8, 8)


def test_who_has_no_queries_says_so(soho: Predictor, drawn: Drawn) -> None:
    with pytest.raises(InputError, match="has not learnt it"):
        soho.object_attention(drawn.paths[0])


def test_what_is_recorded_is_looked_at_all_the_same(e2e_vlp: Predictor, drawn: Drawn) -> None:
    """A recording is replayed without a call of any operator."""

    def capture(function: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> object:
        kept = function(*inputs)
        return lambda *others: kept.clone()

    model = Predictor(replace(e2e_vlp.trained, graphs=Graphs(capture)))
    expected = e2e_vlp.attention(drawn.paths[0], TEXT)
    for _ in range(3):
        model.fill(drawn.paths[0], "a red [MASK] on grass")
        found = model.attention(drawn.paths[0], TEXT)
        np.testing.assert_array_equal(found.weights, expected.weights)


def test_models_of_other_tasks_are_asked_too(drawn: Drawn) -> None:
    model = untrained(EntailmentConfig())
    found = model.attention(drawn.paths[0], "there is a circle")
    assert found.weights.shape[2] == len(found.words)


def test_captions_have_the_scores_of_their_search(e2e_vlp: Predictor, drawn: Drawn) -> None:
    pictures = drawn.paths[:6]
    for texts, best in zip(e2e_vlp.captions(pictures), e2e_vlp.caption(pictures), strict=True):
        assert texts[0].text == best
        assert len({one.text for one in texts}) == 4
        assert [one.score for one in texts] == sorted((one.score for one in texts), reverse=True)
        for one in texts:
            words = len(e2e_vlp.trained.tokenizer.encode(one.text, 99)) - 1  # without [CLS]
            assert one.ended
            assert one.log_probability == pytest.approx(one.score * ((5 + words) / 6) ** 0.9)
