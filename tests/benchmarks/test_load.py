"""The share of other processes, from statistics that the test writes."""

from pathlib import Path

import pytest

from vlp_fast.benchmarks import load


@pytest.fixture
def statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "stat"
    monkeypatch.setattr(load, "STATISTICS", path)
    monkeypatch.setattr(load.os, "sysconf", lambda _: 100)
    return path


def test_the_share_is_of_what_others_did(statistics: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = iter([(1.0, 0.5, 0.0, 0.0, 0.0), (3.0, 0.5, 1.0, 0.0, 0.0)])
    monkeypatch.setattr(load.os, "times", lambda: next(own))
    statistics.write_text("cpu  1000 0 500 8000 100 0 0 0 77 0\ncpu0 1 2 3 4\n")
    meanwhile = load.OtherLoad()
    statistics.write_text("cpu  1400 0 600 8400 200 0 0 0 99 0\ncpu0 1 2 3 4\n")
    assert meanwhile.share() == pytest.approx((5 - 3) / 10)  # of ten seconds five busy, three ours


def test_nothing_is_said_where_nothing_is_known(statistics: Path) -> None:
    assert load.OtherLoad().share() is None
