"""Both sides of a whole step lose the same, and learn the same, with the same weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vlp_fast.benchmarks.case import OURS
from vlp_fast.benchmarks.step import batches, cases, copied, order, reference
from vlp_fast.benchmarks.step.cases import Plan, Size, StepCase, Way
from vlp_fast.benchmarks.step.drawn import draw_data
from vlp_fast.benchmarks.step.timed import TimedSide
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import Experiment, build_experiment
from vlp_fast.models.config import BackboneConfig

Once = Callable[[str, Callable[[Path], object]], Path]
PICTURES, MIXED = 3, 12
"""With this seed the first batch has a tall and two square pictures, in two of which SOHO hides."""
TERMS = {
    "e2e_vlp_r50_6": {"mlm", "itm", "detection", "captioning"},
    "soho_r18_3_official": {"mlm", "mvm", "itm"},
}
SIZE = Size(pictures=PICTURES, steps=2, warm_up=1, at_once=1)


@pytest.fixture(scope="session")
def drawn(once: Once) -> Path:
    """A dozen small pictures."""
    return once("drawn", lambda folder: draw_data(folder, 12, longer=96))


def micro(name: str, dropout: float = 0.0) -> RunConfig:
    """The recipe with a layer of each kind, of a few numbers, on small pictures."""
    run = cases.recipe(name)
    model: Any = replace(run.model, width=16, num_heads=2, ffn_dim=24, dropout=dropout)
    backbone = BackboneConfig(depth=18, norm=model.backbone.norm, freeze_stages=1)
    if name.startswith("e2e"):
        side, layers = 64, {"head_dim": 8, "encoder_layers": 1, "decoder_layers": 2}
        layers["num_queries"] = 31
    else:
        side, layers = 128, {"layers": 1, "num_codes": 2, "mvm_rate": 0.25}
    model = replace(model, backbone=backbone, max_positions=48, **layers)
    return replace(run, model=model, data=replace(run.data, shorter=(side,), longer=2 * side))


@pytest.fixture
def plan_of(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """plan_of(name, provider) is a plan of the micro model of that name."""

    def make(name: str, provider: str = OURS, **way: bool) -> Plan:
        case = StepCase(
            name=name,
            recipe=lambda: micro(name),
            on_cpu=SIZE,
            on_gpu=SIZE,
            others={"composed": Way(**way)},
        )
        monkeypatch.setitem(cases.CASES, name, case)
        monkeypatch.setattr(batches, "WORKERS", 0)
        monkeypatch.setattr(cases, "SEED", MIXED)
        return Plan(
            case=name,
            provider=provider,
            device="cpu",
            data=str(drawn),
            vocabulary=str(drawn / "vocab.txt"),
            pictures=PICTURES,
            warm_up=1,
            steps=2,
            passes=1,
            at_once=1,
            is_quick=False,
        )

    return make


@pytest.mark.parametrize("name", TERMS)
def test_losses_and_gradients_are_equal(name: str, plan_of: Callable[..., Plan]) -> None:
    """In training, without dropout: statistics of batch norm and dictionary move alike, too."""
    torch.manual_seed(0)
    experiment = build_experiment(plan_of(name).run())
    is_checkpointed = name.startswith("soho")
    model = reference.compose(experiment.run.model, Way(is_checkpointed=is_checkpointed))
    copied.copy_weights(experiment.learner.model, model)
    spread(experiment, model)
    ours, composed = reference.both_losses(train(experiment), model.train())
    assert set(ours) == set(composed) == TERMS[name]
    for term, loss in ours.items():
        assert loss > 0
        torch.testing.assert_close(composed[term], loss, rtol=1e-4, atol=0)
    assert_learns_alike(experiment, model, ours, composed)


def train(experiment: Experiment) -> Experiment:
    learner = experiment.learner.train()
    learner.model.backbone.freeze(1)
    return experiment


def spread(experiment: Experiment, model: reference.Composition) -> None:
    """Frozen norms that do something, heads that tell queries apart; of both alike."""
    draw = torch.Generator().manual_seed(1)
    for name, buffer in experiment.learner.model.named_buffers():
        if name.endswith(("running_mean", "running_var")) and name.startswith("backbone"):
            buffer.add_(0.2 * torch.rand(buffer.shape, generator=draw))
    copied.copy_weights(experiment.learner.model, model)


def assert_learns_alike(
    experiment: Experiment,
    model: reference.Composition,
    ours: dict[str, Tensor],
    composed: dict[str, Tensor],
) -> None:
    sum(ours.values()).backward()  # type: ignore[union-attr]
    sum(composed.values()).backward()  # type: ignore[union-attr]
    named = experiment.learner.model.named_parameters()
    gradients = {name: p.grad for name, p in named if p.grad is not None}
    found = copied.translated(gradients, model)
    theirs = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert set(found) == set(theirs)
    largest = max(float(gradient.norm()) for gradient in theirs.values())
    for name, gradient in theirs.items():
        # Batch norm adds up maps of another layout in another order, which moves a few of its
        # own gradients by a thousandth; those of keys' biases are 0 but for rounding.
        allowed = (1e-2 if "backbone" in name else 1e-3) * float(gradient.norm())
        assert float((found[name] - gradient).norm()) < allowed + 1e-6 * largest, name
    state = copied.translated(experiment.learner.model.state_dict(), model)
    for name, value in model.state_dict().items():
        if name.startswith("dictionary") and name != "dictionary.cluster_sum":
            scale = 4.0 if name != "dictionary.embed" else 1.0  # each picture counts once a text
            assert (value - scale * state[name]).norm() < 1e-3 * value.norm(), name


@pytest.mark.parametrize("name", TERMS)
def test_parameters_are_as_many_and_none_is_left_over(
    name: str, plan_of: Callable[..., Plan]
) -> None:
    config = micro(name).model
    ours, composed = config.build(), reference.compose(config, Way())
    learnt, theirs = (sum(p.numel() for p in model.parameters()) for model in (ours, composed))
    assert learnt == theirs
    copied.copy_weights(ours, composed)
    del composed.text_embeddings
    with pytest.raises(RuntimeError, match="text_embeddings"):
        copied.copy_weights(ours, composed)


@pytest.mark.parametrize("name", TERMS)
def test_sides_do_steps_of_the_same_pictures(name: str, plan_of: Callable[..., Plan]) -> None:
    ours = TimedSide(plan_of(name))
    composed = TimedSide(plan_of(name, "composed"))
    assert ours.about["parameters"] == composed.about["parameters"]
    assert composed.about["disagreement"] < 1e-4
    found = [[side.do(steps=1), side.do(steps=2)] for side in (ours, composed)]
    texts = 4 if name.startswith("soho") else 1
    for side in found:
        assert [turn["pairs"] for turn in side] == [PICTURES * texts, 2 * PICTURES * texts]
        assert all(turn["seconds"] > 0 and turn["cpu"] > 0 for turn in side)
    for one, other in zip(*found, strict=True):  # the same texts and boxes, other neighbours
        assert set(one["losses"]) == set(other["losses"]) == TERMS[name]
        for term in ("mlm", "captioning", "detection"):
            if term in one["losses"]:
                assert one["losses"][term] == pytest.approx(other["losses"][term], rel=0.2)
    for side in (ours, composed):
        assert side.do(reset=True) == {}
        counted = side.do(end=True)
        assert counted["peak"] > 0
        assert counted["synchronisations"] is None


def test_losses_that_are_not_ours_are_refused(
    plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("soho_r18_3_official", "composed")
    monkeypatch.setattr(reference, "copy_weights", lambda *_: None)
    with pytest.raises(RuntimeError, match=r"its losses are .* from ours, allowed 0.001"):
        TimedSide(plan)


STEPS = [[(0, 4), (0, 1)], [(0, 3), (0, 0)], [(0, 2), (0, 5)]]


def test_random_batches_have_the_pictures_of_the_steps() -> None:
    found = order.random_batches(STEPS, np.random.default_rng(0))
    assert [len(batch) for batch in found] == [2, 2, 2]
    assert sorted(key for batch in found for key in batch) == [(0, i) for i in range(6)]
    assert found != STEPS


def test_batches_by_kind_mix_wide_pictures_with_others_once_at_most() -> None:
    aspects = np.array([1.5, 0.7, 1.3, 0.7, 1.0, 1.4])
    for seed in range(5):
        found = order.batches_by_kind(STEPS, aspects, np.random.default_rng(seed))
        assert sorted(key for batch in found for key in batch) == [(0, i) for i in range(6)]
        kinds = [{bool(aspects[i] > 1) for _, i in batch} for batch in found]
        assert sum(len(kind) > 1 for kind in kinds) == 1  # three of each kind
