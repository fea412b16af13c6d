from pathlib import Path

import numpy as np
import pytest

from vlp_fast.data.examples import ImageLoader
from vlp_fast.data.sources import load_dataset
from vlp_fast.data.sources.drawn_world import SceneTruth
from vlp_fast.data.world import make_world, read_scenes
from vlp_fast.data.world.scene import COLOURS
from vlp_fast.data.world.shapes import KINDS
from vlp_fast.errors import InputError


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures."""
    root = tmp_path_factory.mktemp("world") / "w"
    make_world(root, images=40, seed=5)
    return root


def test_records_say_what_the_scenes_say(world: Path) -> None:
    scenes = read_scenes(world)
    seen = 0
    for split in ("train", "val", "test"):
        dataset = load_dataset(world, split, needs_boxes=True)
        assert dataset.notes == ()
        assert dataset.class_names == tuple(KINDS)
        assert dataset.attribute_names == tuple(COLOURS)
        seen += len(dataset)
        for record in dataset.records:
            scene = scenes[record.image_id]
            objects = [(o.kind, o.colour, tuple(map(float, o.box))) for o in scene.objects]
            found = [
                (KINDS[label], COLOURS[attribute], tuple(box))
                for label, attribute, box in zip(
                    record.labels, record.attributes, record.boxes.tolist(), strict=True
                )
            ]
            assert found == objects
            assert (record.width, record.height) == (scene.width, scene.height)
    assert seen == 40


def test_truth_is_that_of_the_record_at_the_index(world: Path) -> None:
    dataset = load_dataset(world, "train")
    assert dataset.describes is not None
    verdicts = []
    for i, record in enumerate(dataset.records):
        assert all(dataset.describes(i, caption) for caption in record.captions)
        verdicts += [dataset.describes((i + 1) % len(dataset), c) for c in record.captions]
    assert 0 < np.mean(verdicts) < 0.5


def test_boxes_lie_on_their_objects(world: Path) -> None:
    """A single object's pixels differ from the border of the picture inside its box most."""
    dataset = load_dataset(world, "train")
    images = ImageLoader(dataset=dataset, shorter=None, longer=None, seed=0)
    example = images.load(0, 0)
    record = dataset.records[0]
    assert example.image.shape == (3, record.height, record.width)
    corner = record.boxes[0] / [record.width, record.height, record.width, record.height]
    centre = example.boxes[0].numpy()
    np.testing.assert_allclose(centre[:2], (corner[:2] + corner[2:]) / 2, atol=1e-6)


def test_a_selection_knows_its_scenes(world: Path) -> None:
    dataset = load_dataset(world, "train")
    some = dataset.selected([3, 0])
    assert isinstance(dataset.describes, SceneTruth) and isinstance(some.describes, SceneTruth)
    assert some.describes.scenes == (dataset.describes.scenes[3], dataset.describes.scenes[0])


def test_a_world_is_also_a_visual_genome(world: Path) -> None:
    dataset = load_dataset(world, "train", layout="visual_genome", needs_boxes=True)
    assert dataset.class_names == tuple(KINDS)
    by_id = {
        r.image_id: r for s in ("train", "val", "test") for r in load_dataset(world, s).records
    }
    for record in dataset.records:
        twin = by_id[record.image_id]
        assert np.array_equal(record.boxes, twin.boxes)
        assert np.array_equal(record.labels, twin.labels)
        assert record.path == twin.path


def test_a_layout_that_is_named_is_obeyed(world: Path) -> None:
    found, named = load_dataset(world, "train"), load_dataset(world, "train", layout="world")
    assert found.name == named.name == "world train"
    assert found.describes is not None and named.describes is not None
    plain = load_dataset(world, "train", layout="karpathy", needs_boxes=True)
    assert plain.name == "coco train (Karpathy)"
    assert plain.describes is None
    assert plain.attribute_names == ()
    assert all((record.attributes == -1).all() for record in plain.records)
    assert plain.captions() == found.captions()


def test_other_folders_are_no_world(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"world\.json: cannot be read .*make-world"):
        load_dataset(tmp_path, "train", layout="world")


def test_a_damaged_world_is_told(world: Path, tmp_path: Path) -> None:
    state = (world / "world.json").read_text()
    (world / "world.json").write_text(state[: len(state) // 2])
    try:
        with pytest.raises(InputError, match=r"world\.json"):
            load_dataset(world, "train")
    finally:
        (world / "world.json").write_text(state)
