"""A dictionary starts from finite features, and says so where some are not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import Experiment, build_experiment
from vlp_fast.engine.first_batches import FirstBatches
from vlp_fast.engine.trainer import Trainer
from vlp_fast.errors import InputError
from vlp_fast.tasks.pretraining.soho import SohoInputs, SohoPretraining

Make = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def experiment(micro: Make, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    run = micro("soho_tiny", tmp_path_factory.mktemp("codebook") / "run")
    return build_experiment(replace(run, task=replace(run.task, codebook_samples=100)))


def started(experiment: Experiment, spoilt: int) -> str:
    """Starts the dictionary with that many features of a batch that are not finite."""
    task = experiment.task
    assert isinstance(task, SohoPretraining)
    features = task.model.features

    def some(*inputs: Any) -> torch.Tensor:
        found = features(*inputs).clone()
        found[:spoilt, 0] = torch.nan
        return found

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(task.model, "features", some)
        batches = FirstBatches(experiment, task)
        said = task.begin(task.learner, batches, experiment.precision)
    assert said is not None
    return said


def test_features_that_are_not_finite_are_left_out_and_counted(experiment: Experiment) -> None:
    assert started(experiment, 0) == "dictionary: 32 codes from k-means over 100 features"
    said = started(experiment, 3)
    assert "k-means over 9" in said
    assert said.endswith("that are not finite")
    assert experiment.learner.model.dictionary.embed.isfinite().all()  # type: ignore[union-attr]


def test_a_run_may_have_fewer_steps_than_the_dictionary_has_first_batches(
    micro: Make, tmp_path: Path
) -> None:
    run = micro("soho_tiny", tmp_path / "run", steps=1, batch_size=2)
    short = build_experiment(replace(run, task=replace(run.task, codebook_samples=200)))
    assert started(short, 0) == "dictionary: 32 codes from k-means over 200 features"


def test_a_cnn_that_has_diverged_is_named_as_the_reason(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"100 of the first 100 features .* not finite: the CNN"):
        started(experiment, 10**6)
    few = replace(experiment.task.settings, codebook_samples=20)
    monkeypatch.setattr(experiment.task, "settings", few)
    with pytest.raises(InputError, match="hold 20 features, too few for 32 codes"):
        started(experiment, 0)


def test_what_begins_after_another_objective_gets_batches_of_its_own(
    micro: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = build_experiment(micro("soho_tiny", tmp_path / "run", steps=3))
    objectives = [phase.objective for phase in experiment.phases]
    assert objectives[0] is not experiment.task is objectives[-1]
    kinds: list[type] = []
    begin = SohoPretraining.begin

    def watched(self: SohoPretraining, learner: Any, batches: Any, runtime: Any) -> str | None:
        kinds.append(type(next(batches(1))))
        return begin(self, learner, batches, runtime)

    monkeypatch.setattr(SohoPretraining, "begin", watched)
    Trainer(experiment).run()
    assert kinds == [SohoInputs]
