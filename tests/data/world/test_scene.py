"""Random scenes: what the pictures promise about words, places and hidden parts."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vlp_fast.data.world.bounds import SMALL, WORLD, Bounds
from vlp_fast.data.world.sampling import MARGIN, MAX_OVERLAP, sample_scene
from vlp_fast.data.world.scene import (
    COLOURS,
    SIZES,
    Clutter,
    SceneObject,
    area,
    hidden_pixels,
    is_clear,
    relation,
    scene_from_dict,
    scene_to_dict,
)
from vlp_fast.data.world.shapes import KINDS, covered_pixels, silhouette_size

SCENES = [sample_scene(0, index) for index in range(600)]


def make(box: tuple[int, int, int, int], kind: str = "square", size: str = "small") -> SceneObject:
    return SceneObject(kind=kind, colour="red", size=size, texture="solid", box=box, shade=0)


def test_scenes_use_every_word_evenly() -> None:
    items = [item for scene in SCENES for item in scene.objects]
    assert set(Counter(len(scene.objects) for scene in SCENES)) == set(range(1, 9))
    for words, found in (
        (KINDS, Counter(item.kind for item in items)),
        (COLOURS, Counter(item.colour for item in items)),
        (SIZES, Counter(item.size for item in items)),
    ):
        assert set(found) == set(words)
        assert min(found.values()) > 0.75 * len(items) / len(words)
    assert {(scene.width, scene.height) for scene in SCENES} == set(WORLD.sizes)


def test_the_three_sizes_are_far_apart() -> None:
    sides: dict[str, list[float]] = {size: [] for size in SIZES}
    for scene in SCENES:
        for item in scene.objects:
            sides[item.size].append(item.height / (scene.width * scene.height) ** 0.5)
    assert min(sides["small"]) * 112 > 14
    assert max(sides["small"]) * 1.25 < min(sides["medium"])
    assert max(sides["medium"]) * 1.25 < min(sides["large"])


def test_objects_lie_in_the_picture_and_hide_little_of_each_other() -> None:
    for scene in SCENES:
        # An independent count: paint the indices of the objects, back to front.
        owner = np.full((scene.height, scene.width), -1)
        for index, item in enumerate(scene.objects):
            left, top, right, bottom = item.box
            assert left >= MARGIN and right <= scene.width - MARGIN
            assert top >= MARGIN and bottom <= scene.height - MARGIN
            covered = covered_pixels(item.kind, item.width, item.height)
            owner[top:bottom, left:right][covered] = index
        for index, item in enumerate(scene.objects):
            assert (owner == index).sum() >= (1 - MAX_OVERLAP) * area(item)
            for front in scene.objects[index + 1 :]:
                shared = hidden_pixels(item, front)
                assert shared <= MAX_OVERLAP * min(area(item), area(front))


def test_some_objects_overlap_and_some_lie_inside_a_ring() -> None:
    overlapping = sum(
        hidden_pixels(back, front) > 0
        for scene in SCENES
        for index, back in enumerate(scene.objects)
        for front in scene.objects[index + 1 :]
    )
    nested = sum(any(found.name == "inside" for found in scene.relations) for scene in SCENES)
    assert overlapping > 100
    assert 0.08 < nested / len(SCENES) < 0.25


@pytest.mark.parametrize(
    ("box", "word", "clear"),
    [
        ((10, 40, 20, 50), "left", True),
        ((70, 42, 80, 52), "right", True),
        ((40, 5, 50, 15), "above", True),
        ((42, 80, 52, 90), "below", True),
        ((31, 40, 41, 50), "left", False),  # overlaps
        ((10, 15, 20, 25), "left", False),  # nearly diagonal: 30 across, 25 down
        ((60, 60, 70, 70), None, False),  # exactly diagonal
    ],
)
def test_relation_of_hand_placed_squares(
    box: tuple[int, int, int, int], word: str | None, clear: bool
) -> None:
    subject, reference = make(box), make((40, 40, 50, 50))
    assert relation(subject, reference) == word
    if word is not None:
        assert is_clear(subject, word, reference) is clear


def test_relation_inside_a_ring() -> None:
    ring = make((20, 20, 60, 60), kind="ring", size="large")
    within, across, solid = make((33, 33, 47, 47)), make((45, 34, 59, 48)), make((20, 20, 60, 60))
    assert relation(within, ring) == "inside"
    assert relation(ring, within) is None
    assert relation(across, ring) == "right"
    assert relation(within, solid) is None


def test_relations_of_a_scene_are_converse_to_each_other() -> None:
    converse = {"left": "right", "right": "left", "above": "below", "below": "above"}
    for scene in SCENES[:100]:
        found = {(item.subject, item.reference): item.name for item in scene.relations}
        for (subject, reference), name in found.items():
            assert name == "inside" or found[reference, subject] == converse[name]


def test_a_scene_is_a_function_of_seed_and_index() -> None:
    assert sample_scene(3, 17) == sample_scene(3, 17)
    assert sample_scene(3, 17) != sample_scene(4, 17)
    assert sample_scene(3, 17) != replace(sample_scene(3, 18), image_id=18)


def test_scene_survives_plain_data() -> None:
    for scene in SCENES[:50]:
        assert scene_from_dict(scene_to_dict(scene)) == scene


def test_objects_scale_with_the_picture() -> None:
    bounds = Bounds(sizes=((256, 192), (64, 128)))
    scenes = [sample_scene(0, index, bounds) for index in range(40)]
    large = [item.height for scene in scenes if scene.width == 256 for item in scene.objects]
    assert max(large) > 70
    assert all(len(scene.objects) <= 8 for scene in scenes)


@pytest.mark.parametrize("sizes", [(), ((63, 100),), ((100, 201),), ((2000, 1500),)])
def test_impossible_sizes_are_refused(sizes: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="Bounds: received picture sizes"):
        Bounds(sizes=sizes)


def test_a_small_world_holds_what_its_bounds_say() -> None:
    scenes = [sample_scene(0, index, SMALL) for index in range(300)]
    items = [item for scene in scenes for item in scene.objects]
    assert {(scene.width, scene.height) for scene in scenes} == {(64, 64)}
    assert {len(scene.objects) for scene in scenes} == {1, 2}
    assert {item.kind for item in items} == set(SMALL.kinds)
    assert {item.colour for item in items} == set(SMALL.colours)
    for item in items:
        low, high = SMALL.object_sides[item.size]
        assert round(64 * low) <= item.height <= round(64 * high)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_objects": 0},
        {"max_objects": 9},
        {"kinds": ()},
        {"kinds": ("circle", "cube")},
        {"colours": ("orange",)},
        {"object_sides": {"small": (0.1, 0.2)}},
    ],
)
def test_impossible_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Bounds: received"):
        Bounds(**wrong)


def test_impossible_words_and_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="SceneObject: received"):
        make((0, 0, 10, 10), kind="dodecahedron")
    with pytest.raises(ValueError, match="SceneObject: received"):
        make((10, 0, 10, 10))
    for damage in ({"box": (0, 0, 10)}, {"shade": 0.5}):
        with pytest.raises(ValueError, match="SceneObject: received"):
            replace(make((0, 0, 10, 10)), **damage)
    with pytest.raises(ValueError, match="sample_scene: received seed -1"):
        sample_scene(-1, 0)


@pytest.mark.parametrize(
    "damage",
    [
        {"width": 10**6, "height": 10**6},
        {"width": 63},
        {"width": 112.0},
        {"height": "112"},
        {"objects": (make((0, 0, 10**6, 10**6)),)},
        {"objects": (make((-1, 0, 10, 10)),)},
        {"objects": (make((0, -1, 10, 10)),)},
        {"objects": (make((50, 0, 97, 10)),)},
        {"objects": (make((0, 50, 10, 97)),)},
        {"objects": (make((0, 0, 10, 10)),) * 9},
        {"background": "lava"},
        {"clutter": Clutter(marks=10**9, key=0)},
        {"clutter": Clutter(marks=-1, key=0)},
        {"clutter": Clutter(marks=0, key=2**63)},
        {"image_id": 2**63},
        {"image_id": "1"},
        {"shade": None},
    ],
)
def test_impossible_scenes_are_refused(damage: dict[str, Any]) -> None:
    scene = replace(SCENES[0], width=96, height=96, objects=(make((0, 0, 96, 96)),) * 8)
    with pytest.raises(ValueError, match="Scene: received image"):
        replace(scene, **damage)


@pytest.mark.parametrize("kind", KINDS)
def test_silhouettes_fill_their_boxes(kind: str) -> None:
    for side in (15, 18, 24, 29, 38, 43):
        width, height = silhouette_size(kind, side)
        covered = covered_pixels(kind, width, height)
        assert covered.shape == (height, width)
        assert covered[0].any() and covered[-1].any()
        assert covered[:, 0].any() and covered[:, -1].any()
