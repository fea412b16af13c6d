"""What a logged line says of speed, and of what was shown."""

from dataclasses import dataclass

import pytest
import torch

from vlp_fast.engine.clock import TIMED, Clock
from vlp_fast.engine.counted import PADDING, counted
from vlp_fast.tasks.averages import Averages
from vlp_fast.tasks.inputs import Inputs


@dataclass(frozen=True, kw_only=True)
class Some(Inputs):
    """So many samples, and pixels."""

    image_ids: tuple[int, ...]
    problems: tuple[str, ...] = ()
    of: tuple[int, int]

    @property
    def pixels(self) -> tuple[int, int]:
        return self.of


def padding(*shards: Some) -> dict[str, float]:
    averages, like = Averages(), torch.zeros(0, dtype=torch.float64)
    rows = sum(counted(shard, n, len(shards), like=like) for n, shard in enumerate(shards))
    assert isinstance(rows, torch.Tensor)
    shown = [(len(shard.image_ids), len(shard.problems)) for shard in shards]
    assert rows[1:].tolist() == [list(map(float, pair)) for pair in shown]
    averages.add_sums((PADDING,), rows[:1])
    return averages.means()


def test_padding_is_weighed_by_pixels() -> None:
    one = Some(image_ids=(1, 2), of=(75, 100), problems=("cut off",))
    figures = padding(one, Some(image_ids=(3,), of=(300, 300)))
    assert figures[PADDING] == pytest.approx(100 * 25 / 400)


def test_what_has_no_pictures_has_no_padding() -> None:
    assert padding(Some(image_ids=(1,), of=(0, 0))) == {}


def test_samples_a_second() -> None:
    clock = Clock()
    clock.count(Some(image_ids=(1, 2), of=(75, 100)))
    clock.waited = 1e-6
    figures = clock.figures()
    assert figures["images_per_second"] > 0
    assert 0 < figures["data_wait_percent"] < 100


def test_rates_are_of_what_was_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 14.0])
    monkeypatch.setattr("vlp_fast.engine.clock.time.monotonic", lambda: next(now))
    clock = Clock()
    clock.count(Some(image_ids=(1, 2), of=(75, 100)))
    figures = clock.figures(memory_gib=1.5, operations=(8e12, 6e12), peak=10.0)
    assert figures["images_per_second"] == 0.5
    assert figures["tflops"] == pytest.approx(2)
    assert figures["mfu_percent"] == pytest.approx(100 * 1.5 / 10)
    assert figures["memory_gib"] == 1.5
    assert set(figures) <= TIMED


def test_what_is_not_known_is_not_said() -> None:
    clock = Clock()
    assert set(clock.figures()) == {"images_per_second", "data_wait_percent"}
    assert "mfu_percent" not in clock.figures(operations=(1.0, 1.0))
