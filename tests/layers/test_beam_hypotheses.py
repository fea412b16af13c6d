"""The best texts of a beam search, against a search that is slow and plain."""

import pytest
import torch
from language_models import TreeModel, padded, slow_hypotheses

from vlp_fast.layers.beam_search import beam_hypotheses, beam_search
from vlp_fast.layers.late_flag import LateFlag

END = 2


@pytest.mark.parametrize("beams", [1, 2, 4])
@pytest.mark.parametrize("alpha", [0.0, 0.9])
def test_hypotheses_are_those_of_the_slow_search(beams: int, alpha: float) -> None:
    model, length = TreeModel(range(30), num_words=5, scale=1.5), 5
    options = {"end_id": END, "max_length": length, "num_beams": beams, "alpha": alpha}
    found = beam_hypotheses(model, **options)
    expected = [slow_hypotheses(model.log_p(i), **options)[:beams] for i in range(30)]
    ids = [[padded(words, length, END) for _, words, _ in texts] for texts in expected]
    assert found.ids.tolist() == ids
    for place, got in ((0, found.scores), (2, found.log_probabilities)):
        numbers = torch.tensor([[text[place] for text in texts] for texts in expected])
        torch.testing.assert_close(got, numbers.double(), rtol=1e-6, atol=1e-6)
    ended = [[words[-1] == END for _, words, _ in texts] for texts in expected]
    assert found.ended.tolist() == ended
    assert any(map(all, ended))
    assert not all(map(all, ended)), "some texts are cut"


def test_the_first_is_that_of_beam_search_and_all_are_different() -> None:
    model = TreeModel(range(40), num_words=6, scale=2)
    options = {"end_id": END, "max_length": 6, "num_beams": 4}
    best, several = beam_search(model, **options), beam_hypotheses(model, **options)
    assert torch.equal(several.ids[:, 0], best.ids)
    assert torch.equal(several.scores[:, 0], best.scores)
    for texts in several.ids.tolist():
        assert len(set(map(tuple, texts))) == 4


def test_it_stops_when_the_last_cannot_be_overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    model = TreeModel(range(4), num_words=4, scale=4, dtype=torch.float32)
    options = {"end_id": END, "max_length": 16, "num_beams": 2, "alpha": 0.0}
    stopped, steps = beam_hypotheses(model, **options), model.steps
    monkeypatch.setattr(LateFlag, "watch", lambda *_: False)
    to_the_end = beam_hypotheses(model, **options)
    assert steps < model.steps - steps == 15
    assert torch.equal(stopped.ids, to_the_end.ids)
    assert torch.equal(stopped.scores, to_the_end.scores)


def test_what_cannot_be_is_refused_by_its_name() -> None:
    model = TreeModel([0], 5)
    with pytest.raises(ValueError, match="beam_hypotheses: received num_beams 6, expected 1 to 5"):
        beam_hypotheses(model, end_id=END, max_length=3, num_beams=6)
    with pytest.raises(ValueError, match="beam_hypotheses: received alpha -1"):
        beam_hypotheses(model, end_id=END, max_length=3, alpha=-1)
