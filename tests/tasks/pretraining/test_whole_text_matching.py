"""Matching of whole texts: right for a model that knows, wrong for its opposite."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vlp_fast.engine import whole_text_matching as module
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import Experiment, build_experiment
from vlp_fast.tasks.pretraining.whole_text_matching import whole_text_matching

Make = Callable[..., RunConfig]


@pytest.fixture(params=["soho_tiny", "e2e_vlp_tiny"])
def experiment(request: pytest.FixtureRequest, micro: Make, tmp_path: Path) -> Experiment:
    built = build_experiment(micro(request.param, tmp_path, held_out_images=12, batch_size=5))
    built.model.eval()
    return built


@torch.no_grad()
@pytest.mark.parametrize(("knows", "expected"), [(True, 1.0), (False, 0.0)])
def test_an_oracle_and_its_opposite(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, knows: bool, expected: float
) -> None:
    """Rows carry whether the text is one of the picture's own captions, and nothing is masked."""
    ids = experiment.held_out_objective.corruption.ids
    answers: list[bool] = []

    def encode(_: Experiment, texts: list[list[int]], examples: list[Any]) -> tuple[Any, Any]:
        own = [[ids(caption) for caption in e.captions] for e in examples]
        found = [text in captions for text, captions in zip(texts, own, strict=True)]
        answers.extend(found)
        rows = torch.tensor(found, dtype=torch.float32)[:, None].repeat_interleave(2, 0)
        return rows, range(0, 2 * len(texts), 2)

    def head(rows: Tensor) -> Tensor:
        sign = 1.0 if knows else -1.0
        return torch.cat([0.5 - rows, rows - 0.5], dim=1) * sign

    monkeypatch.setattr(module, "encode_pairs", encode)
    monkeypatch.setattr(experiment.model, "match_logits", head)
    assert whole_text_matching(experiment) == {"itm_whole_text": expected}
    assert len(answers) == experiment.held_out_count
    assert len(set(answers)) == 2


@torch.no_grad()
def test_the_figure_repeats(experiment: Experiment) -> None:
    first = whole_text_matching(experiment)
    assert first == whole_text_matching(experiment)
    assert 0 <= first["itm_whole_text"] <= 1
