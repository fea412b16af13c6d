"""Pictures: tight boxes, legible colours, faint clutter, and always the same pixels."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from vlp_fast.data.world.draw import GROUNDS, PALETTE, draw
from vlp_fast.data.world.sampling import sample_scene
from vlp_fast.data.world.scene import COLOURS, Scene, SceneObject
from vlp_fast.data.world.shapes import KINDS, TEXTURES, silhouette, silhouette_size

SCENES = [sample_scene(1, index) for index in range(120)]


def pixels(scene: Scene) -> NDArray[np.int64]:
    return np.asarray(draw(scene), dtype=np.int64)


def changed(scene: Scene, item: SceneObject) -> NDArray[np.bool_]:
    """(height, width) bool: where the object, drawn alone, differs from the empty ground."""
    empty = replace(scene, objects=())
    difference = np.abs(pixels(replace(empty, objects=(item,))) - pixels(empty))
    return np.asarray(difference.max(axis=2) > 0)


def test_boxes_are_tight_around_the_drawn_pixels() -> None:
    for scene in SCENES[:40]:
        for item in scene.objects:
            rows, columns = np.nonzero(changed(scene, item))
            drawn = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert drawn == item.box


def test_the_object_in_front_is_drawn_last() -> None:
    for scene in SCENES:
        front = scene.objects[-1]
        left, top, right, bottom = front.box
        opaque = np.asarray(silhouette(front.kind, front.width, front.height)) == 255
        alone = pixels(replace(scene, objects=(front,)))[top:bottom, left:right]
        together = pixels(scene)[top:bottom, left:right]
        assert opaque.any()
        assert (alone == together)[opaque].all()


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_colour_can_be_read_off_the_pixels(kind: str, texture: str) -> None:
    """Some pixels have the colour, and of no other colour are there as many, at every size."""
    palette = np.array([PALETTE[colour] for colour in COLOURS])
    for size, side in (("small", 15), ("medium", 26), ("large", 40)):
        width, height = silhouette_size(kind, side)
        for index, colour in enumerate(COLOURS):
            item = SceneObject(
                kind=kind,
                colour=colour,
                size=size,
                texture=texture,
                box=(20, 20, 20 + width, 20 + height),
                shade=6,
            )
            scene = replace(SCENES[0], objects=(item,))
            patch = pixels(scene)[20 : 20 + height, 20 : 20 + width]
            distance = np.abs(patch[:, :, None] - palette).sum(axis=3)
            matching = (distance < 40).sum(axis=(0, 1))
            assert matching.argmax() == index and matching[index] >= 6


def test_colours_and_grounds_are_far_apart() -> None:
    colours = np.array(list(PALETTE.values()))
    grounds = np.array(list(GROUNDS.values()))
    between = np.abs(colours[:, None] - colours).sum(axis=2) + 1000 * np.eye(len(colours))
    assert between.min() > 120
    assert np.abs(colours[:, None] - grounds).sum(axis=2).min() > 120


def test_clutter_is_there_but_faint() -> None:
    for scene in SCENES[:40]:
        ground = pixels(replace(scene, objects=()))
        base = np.array(GROUNDS[scene.background])
        assert np.abs(ground - base).max() <= 45
        assert np.abs(np.diff(ground, axis=1)).max() >= 4


def test_pictures_depend_on_the_scene_only() -> None:
    for scene in SCENES[:20]:
        assert draw(scene).tobytes() == draw(scene).tobytes()
        assert draw(scene).size == (scene.width, scene.height)
    other = replace(SCENES[0], clutter=replace(SCENES[0].clutter, key=1))
    assert draw(other).tobytes() != draw(SCENES[0]).tobytes()
