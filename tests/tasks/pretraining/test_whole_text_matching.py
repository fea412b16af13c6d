"""Matching of whole texts: right for a model that knows, wrong for its opposite."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.pretraining import whole_text_matching as module
from vlp_fast.tasks.pretraining.pretraining import Pretraining

Make = Callable[..., RunConfig]


@pytest.fixture(params=["soho_tiny", "e2e_vlp_tiny"])
def held_out(request: pytest.FixtureRequest, micro: Make, tmp_path: Path) -> HeldOut:
    built = build_experiment(micro(request.param, tmp_path, held_out_images=12, batch_size=5))
    built.learner.eval()
    return built.held_out()


def measured(held_out: HeldOut) -> dict[str, float]:
    assert isinstance(held_out.task, Pretraining)
    return module.whole_text_matching(held_out.task, held_out)


@torch.no_grad()
@pytest.mark.parametrize(("knows", "expected"), [(True, 1.0), (False, 0.0)])
def test_an_oracle_and_its_opposite(
    held_out: HeldOut, monkeypatch: pytest.MonkeyPatch, knows: bool, expected: float
) -> None:
    """Rows carry whether the text is one of the picture's own captions, and nothing is masked."""
    task = held_out.task
    assert isinstance(task, Pretraining)
    ids = task.corruption.ids
    answers: list[bool] = []

    def encode(_: Any, __: Any, texts: list[list[int]], examples: list[Any]) -> tuple[Any, Any]:
        own = [[ids(caption) for caption in e.captions] for e in examples]
        found = [text in captions for text, captions in zip(texts, own, strict=True)]
        answers.extend(found)
        rows = torch.tensor(found, dtype=torch.float32)[:, None].repeat_interleave(2, 0)
        return rows, range(0, 2 * len(texts), 2)

    def head(rows: Tensor) -> Tensor:
        sign = 1.0 if knows else -1.0
        return torch.cat([0.5 - rows, rows - 0.5], dim=1) * sign

    monkeypatch.setattr(module, "encode_pairs", encode)
    monkeypatch.setattr(task.learner.model, "match_logits", head)
    assert measured(held_out) == {"itm_whole_text": expected}
    assert len(answers) == held_out.count
    assert len(set(answers)) == 2


@torch.no_grad()
def test_the_figure_repeats(held_out: HeldOut) -> None:
    first = measured(held_out)
    assert first == measured(held_out)
    assert 0 <= first["itm_whole_text"] <= 1
