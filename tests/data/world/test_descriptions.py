"""One full description a picture: true, of everything, and no other held-out picture's."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vlp_fast.data.sources import load_dataset
from vlp_fast.data.world import is_true, make_world, parse, read_scenes
from vlp_fast.data.world.bounds import SMALL, Bounds
from vlp_fast.data.world.descriptions import describe, described_scenes, split_of
from vlp_fast.data.world.sampling import sample_scene
from vlp_fast.data.world.statements import Placement, things_of
from vlp_fast.errors import InputError

IMAGES = 240


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("described") / "world"
    make_world(root, images=IMAGES, seed=2, bounds=SMALL, captions="descriptions")
    return root


def test_a_sixth_each_is_held_out_and_every_picture_has_one_caption(world: Path) -> None:
    sizes = {split: len(load_dataset(world, split)) for split in ("train", "val", "test")}
    assert sizes == {"train": 160, "val": 40, "test": 40}
    for split in sizes:
        dataset = load_dataset(world, split)
        assert all(len(record.captions) == 1 for record in dataset.records)
        assert dataset.num_boxes >= len(dataset)
    (caption,) = (json.loads((world / "dataset_coco.json").read_text())["images"][4]["sentences"],)
    assert len(caption) == 1


@pytest.mark.parametrize("split", ["val", "test"])
def test_descriptions_tell_held_out_pictures_apart(world: Path, split: str) -> None:
    """Each is true of its own picture and of no other of its split."""
    dataset = load_dataset(world, split)
    captions = dataset.captions()
    assert dataset.describes is not None
    truth = [[dataset.describes(i, text) for text in captions] for i in range(len(dataset))]
    assert np.array_equal(np.array(truth), np.eye(len(dataset), dtype=bool))


def test_everything_is_said_and_true(world: Path) -> None:
    scenes = read_scenes(world)
    relations = Counter()
    for split in ("train", "test"):
        dataset = load_dataset(world, split)
        for record in dataset.records:
            scene, (text,) = scenes[record.image_id], record.captions
            assert is_true(scene, text)
            statement = parse(text)
            assert statement is not None
            assert " ".join(statement.words()) == text
            said = sorted((t.size, t.colour, t.kind) for t in things_of(statement))
            assert said == sorted((o.size, o.colour, o.kind) for o in scene.objects)
            assert text.endswith(f" on {scene.background}")
            if isinstance(statement, Placement):
                relations[statement.relation] += 1
            else:
                assert len(scene.objects) == 1 or not scene.relations
    assert set(relations) == {"left", "right", "above", "below"}


def test_there_are_no_files_of_other_tasks_and_it_can_be_made_again(world: Path) -> None:
    assert not list(world.glob("v2_*")) + list(world.glob("nlvr2*")) + list(world.glob("snli*"))
    before = (world / "dataset_coco.json").read_bytes()
    make_world(world, images=IMAGES, seed=2, bounds=SMALL, captions="descriptions")
    assert (world / "dataset_coco.json").read_bytes() == before


def test_a_smaller_one_is_the_beginning_of_a_larger() -> None:
    few = list(described_scenes(7, 30, SMALL))
    assert few == list(described_scenes(7, 60, SMALL))[:30]
    assert few != list(described_scenes(8, 30, SMALL))
    assert [split_of(index) for index in range(7)] == [*["train"] * 4, "val", "test", "train"]


def test_pictures_with_many_objects_list_all() -> None:
    bounds = Bounds()
    scene = next(s for s in (sample_scene(0, i, bounds) for i in range(99)) if len(s.objects) > 4)
    text = describe(scene, np.random.default_rng(0))
    assert len(list(things_of(text))) == len(scene.objects)
    assert text.holds(scene)


def test_where_there_is_no_other_picture_that_is_told() -> None:
    """One object of one kind and colour, on four grounds: twelve descriptions."""
    bounds = Bounds(max_objects=1, kinds=("circle",), colours=("red",))
    assert len(list(described_scenes(0, 6 * 11, bounds))) == 66
    with pytest.raises(InputError, match="no picture that a description tells from the 12 others"):
        list(described_scenes(0, 6 * 13, bounds))


def test_the_ground_behind_a_placement_is_part_of_what_is_said() -> None:
    scene = next(
        s for s in (sample_scene(1, i, SMALL) for i in range(99))
        if s.relations and s.background == "sand"
    )  # fmt: skip
    text = " ".join(describe(scene, np.random.default_rng(0)).words())
    assert is_true(scene, text)
    assert is_true(scene, text.removesuffix(" on sand"))
    assert not is_true(scene, text.replace("sand", "snow"))
    assert parse(text.replace("on sand", "on the sand")) is None
