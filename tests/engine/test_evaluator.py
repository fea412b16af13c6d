"""Held-out figures: of the whole pool, repeatable, and without a trace in the model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.evaluator import evaluate
from vlp_fast.engine.experiment import build_experiment

Make = Callable[..., RunConfig]


@pytest.mark.parametrize("name", ["soho_tiny", "e2e_vlp_tiny"])
@pytest.mark.parametrize("training", [True, False])
def test_an_evaluation_changes_nothing_and_repeats(
    micro: Make, tmp_path: Path, name: str, training: bool
) -> None:
    torch.manual_seed(0)
    experiment = build_experiment(micro(name, tmp_path))
    experiment.learner.train(training)
    before = {n: v.clone() for n, v in experiment.learner.state_dict().items()}
    first = evaluate(experiment)
    torch.manual_seed(99)
    assert evaluate(experiment) == first
    assert experiment.learner.training is training
    after = experiment.learner.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert all(p.grad is None for p in experiment.learner.parameters())


@pytest.mark.parametrize("name", ["soho_tiny", "e2e_vlp_tiny"])
def test_figures_do_not_depend_on_the_batch_size(micro: Make, tmp_path: Path, name: str) -> None:
    figures, losses = [], []
    for batch_size in (1, 2, 3):
        torch.manual_seed(4)
        run = micro(name, tmp_path, batch_size=batch_size, precision="fp32")
        backbone = replace(run.model.backbone, remask=True)  # else padding reaches the border
        run = replace(run, model=replace(run.model, backbone=backbone))
        experiment = build_experiment(run)
        assert experiment.held_out().count == 3
        found = evaluate(experiment)
        figures.append({n: v for n, v in found.items() if n.endswith("_accuracy")})
        losses.append([found["mlm"], found["itm"]])
        assert found.keys() >= {"mlm", "itm", "mlm_accuracy", "itm_accuracy"}
    assert figures[0] == figures[1] == figures[2]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[2] == pytest.approx(losses[0], rel=1e-5)


def test_the_dictionary_is_counted_over_all_cells(micro: Make, tmp_path: Path) -> None:
    experiment = build_experiment(micro("soho_tiny", tmp_path))
    experiment.learner.model.dictionary.embed.zero_()  # every cell takes the first code
    figures = evaluate(experiment)
    assert figures["used_codes"] == 1
    assert figures["majority_code_share"] == 1
    assert figures["perplexity"] == pytest.approx(1)


def test_held_out_batches_hold_one_aspect(micro: Make, tmp_path: Path) -> None:
    """Three aspects: at most two batches hold a change from one to the next."""
    run = micro("e2e_vlp_tiny", tmp_path / "run", held_out_images=48, batch_size=6)
    run = replace(run, data=replace(run.data, held_out_split="train"))
    batches = list(build_experiment(run).held_out().collated())
    shapes = [set(batch.image_sizes) for batch in batches]
    assert len(set.union(*shapes)) == 3
    assert sum(len(found) > 1 for found in shapes) <= 2
    assert len({image_id for batch in batches for image_id in batch.image_ids}) == 48
