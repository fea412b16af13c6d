"""Which held-out samples are measured where not all are asked for."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rebuilt import with_setup
from sample_tasks import Build, Cpu

from vlp_fast.errors import InputError
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.pretraining.soho import SohoPretraining


@pytest.fixture(params=["pretraining", "vqa", "nlvr2"])
def task(request: pytest.FixtureRequest, build: Build, soho_task: SohoPretraining) -> Any:
    """A task that measures on its training split, which is the larger one."""
    made = soho_task if request.param == "pretraining" else build(request.param)
    return with_setup(made, data=replace(made.setup.data, held_out_split="train"))


def held_out(task: Any, count: int, **changes: Any) -> HeldOut:
    task = with_setup(task, held_out_images=count, **changes)
    return HeldOut(task=task, runtime=Cpu(), batch_size=6)


def shown(held_out: HeldOut) -> list[int | str]:
    return [key for inputs in held_out.collated() for key in inputs.image_ids]


def test_a_part_is_spread_and_nested_whatever_the_run(task: Any) -> None:
    few, many = held_out(task, 12), held_out(task, 40)
    first, more = shown(few), shown(many)
    assert (len(first), len(set(more))) == (12, 40)
    assert set(first) < set(more)
    other = replace(held_out(task, 12, seed=99), batch_size=5)
    assert sorted(shown(other), key=str) == sorted(first, key=str)
    keys = task.held_out.keys()
    places = sorted(keys.index(key) for key in more)
    assert places[0] < len(keys) / 4
    assert places[-1] > 3 * len(keys) / 4
    assert few.described() == other.described() != many.described()
    again = [e for batch in few.similar_examples() for e in batch]
    assert sorted(e.index for e in again) == few.indices


def test_all_are_shown_in_the_order_of_the_file(task: Any) -> None:
    """Within one aspect, by which batches are cut."""
    aspects = dict(zip(task.held_out.keys(), task.held_out.aspects().tolist(), strict=True))
    assert shown(held_out(task, 10**6)) == sorted(aspects, key=aspects.__getitem__)


def test_pictures_of_a_report_are_the_first_of_more(task: Any) -> None:
    measured = held_out(task, 5)
    few, more = measured.examples(4), measured.examples(30)
    assert [e.index for e in few] == [e.index for e in more[:4]]
    assert len({e.index for e in more}) == 30
    assert {e.index for e in few} <= set(measured.indices)


def test_whole_groups_are_measured(build: Build) -> None:
    """Or consistency would be of fewer pairs a sentence than it is of the split."""
    made: Any = build("nlvr2")
    data = replace(made.setup.data, held_out_split="train")
    measured = held_out(with_setup(made, data=data), 21)
    samples: Any = measured.task.held_out.samples
    groups = [samples[index].group for index in measured.indices]
    whole = [sample.group for sample in samples]
    assert max(map(whole.count, groups)) > 1
    assert sum(groups.count(group) < whole.count(group) for group in set(groups)) <= 1


@pytest.mark.parametrize("kind", ["pretraining", "vqa"])
def test_only_pictures_that_are_measured_must_be_whole(
    build: Build, soho_task: SohoPretraining, small_world: Path, tmp_path: Path, kind: str
) -> None:
    root = shutil.copytree(small_world, tmp_path / "world")
    made = soho_task if kind == "pretraining" else build("vqa")
    data = replace(made.setup.data, root=(root,), held_out_split="train")
    measured = held_out(with_setup(made, data=data), 12)
    dataset, loader = measured.task.held_out, measured.task.held_out_examples
    images = [s.images for s in dataset.samples] or [(i,) for i in range(len(dataset))]
    seen = {image for index in measured.indices for image in images[index]}
    assert 8 <= len(seen) < len(dataset.records) / 2
    for place, record in enumerate(dataset.records):
        if place not in seen:
            record.path.write_bytes(b"")
    loader.look(measured.indices)
    with pytest.raises(InputError, match=r"images of .* that were looked at cannot be used"):
        loader.look()
    others = [i for i, shown in enumerate(images) if seen.isdisjoint(shown)]
    with pytest.raises(InputError, match="cannot be used"):
        loader.look(others)
