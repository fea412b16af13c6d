"""Cases that differ in one size become curves; others do not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.benchmarks import ledger
from vlp_fast.benchmarks.comparison import comparisons
from vlp_fast.benchmarks.ledger import Row
from vlp_fast.benchmarks.report import write_report
from vlp_fast.benchmarks.sweep import sweeps
from vlp_fast.benchmarks.sweep_plot import draw_sweeps


def row(case: str, median: float | None = 10.0, **changes: str) -> Row:
    """A row of ours on an H200."""
    known = {"operator": "dictionary", "case": case, "provider": "vlp_fast", "device": "H200"}
    known |= {"direction": "forward", "dtype": "float32", "cache": "cold", "date": "2026-11-21"}
    told = {} if median is None else {"median_us": f"{median}"}
    told |= {} if median is None else {"p20_us": f"{0.9 * median}", "p80_us": f"{1.1 * median}"}
    return {**dict.fromkeys(ledger.COLUMNS, ""), **known, **told, **changes}


OVER_N = [row(f"assign-N{n}-K8-D4", n) for n in (300, 20, 1000)]
OVER_K = [row(f"assign-N20-K{k}-D4", k) for k in (16, 32)]


def test_names_that_differ_in_one_size_are_a_sweep() -> None:
    by_n, by_k = sweeps(comparisons([*OVER_N, *OVER_K]))
    assert (by_n.letter, list(by_n.cases)) == ("N", [20, 300, 1000])
    assert (by_k.letter, list(by_k.cases)) == ("K", [8, 16, 32])
    assert by_n.title == "assign-K8-D4 (forward, float32, cold)"
    sizes, rows = by_n.curves()["vlp_fast"]
    assert sizes == [20, 300, 1000]
    assert [float(one["median_us"]) for one in rows] == [20, 300, 1000]


@pytest.mark.parametrize(
    "other",
    [
        row("step-N5000-K8-D4"),
        row("assign-N5000-K8-D5"),
        row("assign-N5000-K8-D4", dtype="float16"),
        row("assign-N5000-K8-D4", cache="hot"),
        row("assign-bf16-N5000-K8-D4"),
        row("assign-varied-100x"),
        row("single-100x10"),
    ],
)
def test_what_differs_in_more_is_none(other: Row) -> None:
    assert sweeps(comparisons([*OVER_N[:2], other])) == []


def test_who_was_measured_once_or_never_has_no_curve() -> None:
    absent = [{**one, "provider": "gone", "median_us": "", "note": "why"} for one in OVER_N]
    once = {**OVER_N[0], "provider": "once"}
    twice = [{**one, "provider": "twice"} for one in OVER_N[1:]]
    (found,) = sweeps(comparisons([*OVER_N, *absent, once, *twice]))
    assert {name: sizes for name, (sizes, _) in found.curves().items()} == {
        "vlp_fast": [20, 300, 1000],
        "twice": [20, 1000],
    }


def test_the_page_shows_the_curves(tmp_path: Path) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.pyplot import imread

    from vlp_fast.benchmarks.plot import OURS_COLOUR
    from vlp_fast.benchmarks.sweep_plot import PEER_COLOURS

    peers = [row(f"assign-N{n}-K8-D4", 5 * n, provider="peer") for n in (300, 20, 1000)]
    (path,) = ledger.append([*OVER_N, *peers, *OVER_K], tmp_path)
    page, _, curves = write_report(path.parent)
    assert curves.name == "dictionary-sweeps.png"
    assert "![dictionary over its sizes](dictionary-sweeps.png)" in page.read_text()
    pixels = imread(curves)[..., :3]
    for colour in (OURS_COLOUR, PEER_COLOURS[0]):
        assert (abs(pixels - to_rgb(colour)).max(-1) < 0.02).sum() > 200, colour
    edges = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    assert all((edge == 1).all() for edge in edges)  # nothing is cut off


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[list[Row]], list[Any]]:
    """The visible axes of a picture of these rows, as they are saved."""
    from matplotlib import pyplot

    kept: list[Any] = []
    monkeypatch.setattr(pyplot, "close", kept.append)

    def draw(rows: list[Row]) -> list[Any]:
        draw_sweeps("dictionary", sweeps(comparisons(rows)), tmp_path / "drawn.png")
        return [axes for axes in kept[-1].axes if axes.get_visible()]

    return draw


def test_each_provider_has_a_marker_of_its_own_and_the_legend_is_beside(
    drawn: Callable[[list[Row]], list[Any]],
) -> None:
    names = ["vlp_fast", "vlp_fast codes prepared", *(f"peer {n}" for n in range(10))]
    rows = [{**one, "provider": name} for name in names for one in OVER_N]
    (axes,) = drawn(rows)
    assert len({line.get_marker() for line in axes.get_lines()}) == len(names)
    assert len({(line.get_marker(), line.get_color()) for line in axes.get_lines()}) == len(names)
    legend, inside = axes.get_legend().get_window_extent(), axes.get_window_extent()
    assert legend.x0 >= inside.x1
    assert legend.x1 <= axes.figure.bbox.x1


def test_of_a_gpu_only_the_cold_cache_is_drawn(drawn: Callable[[list[Row]], list[Any]]) -> None:
    (axes,) = drawn([*OVER_N, *({**one, "cache": "hot"} for one in OVER_N)])
    assert "cold" in axes.get_title("left")
    on_cpu = [{**one, "cache": ""} for one in OVER_N]
    assert len(drawn(on_cpu)) == 1
