"""Few objects first: pools grow, indices stay inside, truth follows the sorted records."""

from dataclasses import replace
from pathlib import Path

import pytest

from vlp_fast.data.order import SampleOrder
from vlp_fast.data.sources import load_dataset
from vlp_fast.data.sources.drawn_world import SceneTruth
from vlp_fast.data.world.language import is_true
from vlp_fast.data.world.layouts import read_scenes
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.recipes import recipe
from vlp_fast.tasks.pretraining.curriculum import Curriculum, CurriculumOrder, easiest_first

COUNTS = tuple(sorted([1, 2, 3, 4] * 100))


def test_pools_grow_to_everything() -> None:
    curriculum = Curriculum(box_counts=COUNTS, steps=90)
    pools = [curriculum.pool(step) for step in range(120)]
    assert pools == sorted(pools)
    assert (pools[0], pools[29], pools[30], pools[60]) == (100, 100, 200, 300)
    assert set(pools[90:]) == {400}


def test_a_pool_is_never_too_small_to_draw_from() -> None:
    assert Curriculum(box_counts=(1, 5, 5), steps=10).pool(0) == 3
    assert Curriculum(box_counts=(1, *[5] * 200), steps=10).pool(0) == 64
    assert Curriculum(box_counts=(0,) * 80, steps=10).pool(0) == 80


def test_indices_stay_inside_the_pool_and_are_stateless() -> None:
    curriculum = Curriculum(box_counts=COUNTS, steps=90)
    order = curriculum.wrap(SampleOrder(400, 16, seed=0))
    assert all(max(order.batch(step)[1]) < curriculum.pool(step) for step in range(100))
    fresh = curriculum.wrap(SampleOrder(400, 16, seed=0))
    assert fresh.batch(57) == order.batch(57)
    epoch, indices = SampleOrder(400, 16, seed=0).batch(95)
    assert order.batch(95) == (90 + epoch, indices)
    # Images come again before all have been seen: the keys of their draws must differ.
    assert len({order.batch(step)[0] for step in range(90)}) == 90


def test_all_of_the_pool_is_drawn_in_batches_of_similar_aspect() -> None:
    aspects = [0.5, 1.0, 2.0, 4.0] * 100
    curriculum = Curriculum(box_counts=COUNTS, steps=90)
    order = curriculum.wrap(SampleOrder(400, 4, seed=0, aspects=aspects))
    batches = [order.batch(step)[1] for step in range(90)]
    kinds = [len({aspects[i] for i in batch}) for batch in batches]
    assert sum(kinds) < 1.6 * len(kinds)  # of four at random 2.7 differ
    assert len({i for batch in batches for i in batch}) > 150
    assert {aspects[batch[0]] for batch in batches} == {0.5, 1.0, 2.0, 4.0}


def test_a_batch_may_be_larger_than_the_pool() -> None:
    curriculum = Curriculum(box_counts=(1, *[5] * 200), steps=10)
    assert len(curriculum.wrap(SampleOrder(201, 150, seed=0)).batch(0)[1]) == 150


def test_truth_follows_the_records(small_world: Path) -> None:
    dataset = load_dataset(small_world, "train")
    easy = easiest_first(dataset)
    counts = [len(record.boxes) for record in easy.records]
    assert counts == sorted(counts)
    assert counts != [len(record.boxes) for record in dataset.records]
    scenes = read_scenes(small_world)
    assert isinstance(easy.describes, SceneTruth)
    for index, record in enumerate(easy.records):
        for text in (record.captions[0], easy.records[index - 1].captions[0]):
            assert easy.describes(index, text) == is_true(scenes[record.image_id], text)


@pytest.mark.parametrize("steps", [None, 40])
def test_its_length_is_a_share_of_the_run(small_world: Path, steps: int | None) -> None:
    run = recipe("e2e_vlp_tiny")
    run = replace(
        run,
        steps=steps,
        data=replace(run.data, root=small_world),
        task=replace(run.task, curriculum=0.25),
        train=replace(run.train, batch_size=6, epochs=8.0),
    )
    experiment = build_experiment(run)
    assert experiment.total_steps == (steps or 8 * 54 // 6)
    order = experiment.task.order(experiment.order)
    assert isinstance(order, CurriculumOrder)
    assert order.curriculum.steps == experiment.total_steps // 4
    counts = tuple(len(record.boxes) for record in experiment.task.train.records)
    assert order.curriculum.box_counts == counts == tuple(sorted(counts))
