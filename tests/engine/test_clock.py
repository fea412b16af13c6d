"""What a logged line says of speed and padding."""

from dataclasses import dataclass

import pytest

from vlp_fast.engine.clock import Clock
from vlp_fast.tasks.inputs import Inputs


@dataclass(frozen=True, kw_only=True)
class Some(Inputs):
    """So many samples, and pixels."""

    image_ids: tuple[int, ...]
    of: tuple[int, int]

    @property
    def pixels(self) -> tuple[int, int]:
        return self.of


def test_padding_is_weighed_by_pixels() -> None:
    clock = Clock()
    clock.count(Some(image_ids=(1, 2), of=(75, 100)))
    clock.count(Some(image_ids=(3,), of=(300, 300)))
    figures = clock.figures()
    assert figures["padding_percent"] == pytest.approx(100 * 25 / 400)
    assert figures["images_per_second"] > 0


def test_what_has_no_pictures_has_no_padding() -> None:
    clock = Clock()
    clock.count(Some(image_ids=(1,), of=(0, 0)))
    assert "padding_percent" not in clock.figures()
