"""A small ledger as tables and as curves."""

import sys
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.benchmarks import ledger, sweeps
from vlp_fast.benchmarks.ledger import Row
from vlp_fast.benchmarks.report import comparisons, machine, table, write_report
from vlp_fast.errors import InputError


def row(provider: str, median: float | None, case: str = "solve", **changes: str) -> Row:
    """A row of an H200."""
    values = dict.fromkeys(ledger.COLUMNS, "")
    values |= {"operator": "matching", "case": case, "provider": provider, "device": "H200"}
    values |= {"direction": "forward", "dtype": "float32", "cache": "cold", "cpu_threads": "2"}
    values |= {"torch": "2.11.0", "vlp_fast": "0.1.0", "commit": "abc1234", "date": "2026-11-21"}
    if median is not None:
        values |= {"median_us": f"{median}", "p20_us": f"{0.9 * median}", "p80_us": f"{median}"}
        values |= {"host_us": "7.5", "wall_us": "60", "compilations": "3"}
        values |= {"limit_fraction": "0.125", "extra_mib": "3174.4"}
    return values | changes


OLD = [row("vlp_fast", 999.0, date="2026-11-20"), row("gone", 5.0, date="2026-11-20")]
NEW = [
    row("vlp_fast", 50.0, backend="cuda"),
    row("SciPy", 1500.0),
    row("peer", 25.0),
    row("lapx", None, note="not installed: pip install lapx", cache=""),
]


def test_the_latest_run_is_compared() -> None:
    (found,) = comparisons([*NEW, *OLD])  # merged later is no later run
    assert list(found.rows) == NEW
    assert found.title == "solve (forward, float32)"


def test_a_quick_run_or_a_busy_machine_is_told() -> None:
    quick = [row("vlp_fast", 9.0, note="quick"), row("lapx", None, note="not installed", cache="")]
    quick = [{**one, "date": "2026-11-22"} for one in quick]
    (alone,) = comparisons(quick)
    assert alone.title.endswith("a quick run: figures mean little)")
    (real,) = comparisons([*NEW, *quick])  # it takes no other run's place
    assert list(real.rows) == NEW
    (busy,) = comparisons([row("vlp_fast", 50.0, others_cpu="0.312")])
    assert busy.title == "solve (forward, float32, others took 31% of the CPUs)"
    (quiet,) = comparisons([row("vlp_fast", 50.0, others_cpu="0.04")])
    assert "others" not in quiet.title
    assert "COMMIT UNKNOWN (VLP_FAST_COMMIT)" in machine(row("vlp_fast", 1.0, commit=""))
    assert "commit abc1234;" in machine(row("vlp_fast", 1.0))


def test_ours_stands_beside_each_peer() -> None:
    own = row("vlp_fast codes prepared", 20.0)
    found = comparisons([*NEW, own, row("vlp_fast", 3.0, case="alone")])
    lines = table(found).split("\n")
    head, _, solve, alone = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert head == ["case", "vlp_fast", "limit", "others", "vlp_fast is"]
    assert solve == [
        *("solve (forward, float32)", "50.0 us cuda", "12 %"),
        "vlp_fast codes prepared 20.0 us; peer 25.0 us; SciPy 1.50 ms; "
        "lapx: not installed: pip install lapx",
        "2.00x slower",  # than the fastest of others
    ]
    assert alone == ["alone (forward, float32)", "3.00 us", "12 %", "", ""]
    (quicker,) = comparisons([NEW[0], row("SciPy", 1500.0)])
    assert "| 30.0x faster |" in table([quicker])
    (missing,) = comparisons([row("vlp_fast", None, note="why"), row("SciPy", 1500.0)])
    assert "| why |  | SciPy 1.50 ms |  |" in table([missing])


SIZES = [row("vlp_fast", n, f"assign-N{n}-K8-D4") for n in (300, 20, 1000)]
PEERS = [{**one, "provider": "peer", "median_us": "7.5"} for one in SIZES]
OVER_K = [row("vlp_fast", 10.0, f"assign-N20-K{k}-D4") for k in (16, 32)]


def test_names_that_differ_in_one_size_are_a_sweep() -> None:
    by_n, by_k = sweeps.find(comparisons([*SIZES, *OVER_K]))
    assert (by_n.letter, list(by_n.cases)) == ("N", [20, 300, 1000])
    assert (by_k.letter, list(by_k.cases)) == ("K", [8, 16, 32])
    assert by_n.title == "assign-K8-D4 (forward, float32)"
    absent = [{**one, "provider": "gone", "median_us": "", "note": "why"} for one in SIZES]
    once = {**SIZES[0], "provider": "once"}
    (found,) = sweeps.find(comparisons([*SIZES, *PEERS[1:], *absent, once]))
    sizes = {name: list(rows) for name, rows in found.curves().items()}
    assert sizes == {"vlp_fast": [20, 300, 1000], "peer": [20, 1000]}
    curve = found.curves()["vlp_fast"]
    assert all(float(row["median_us"]) == size for size, row in curve.items())


@pytest.mark.parametrize(
    "other",
    [
        row("vlp_fast", 10.0, "step-N5000-K8-D4"),
        row("vlp_fast", 10.0, "assign-N5000-K8-D5"),
        row("vlp_fast", 10.0, "assign-N5000-K8-D4", dtype="float16"),
        row("vlp_fast", 10.0, "assign-bf16-N5000-K8-D4"),
        row("vlp_fast", 10.0, "single-100x10"),
    ],
)
def test_what_differs_in_more_is_none(other: Row) -> None:
    assert sweeps.find(comparisons([*SIZES[:2], other])) == []


def test_a_page_and_a_picture_of_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.pyplot import imread

    (path,) = ledger.append([*OLD, *NEW, *SIZES, *PEERS], tmp_path)
    page, picture = write_report(path.parent)
    assert (page.name, picture.name) == ("report.md", "matching-sweeps.png")
    words = page.read_text()
    assert "| solve (forward, float32) | 50.0 us cuda | 12 % |" in words
    assert "commit abc1234" in words
    assert "999 us" not in words
    assert "![matching over its sizes](matching-sweeps.png)" in words
    pixels = imread(picture)[..., :3]
    for colour in (sweeps.OURS_COLOUR, sweeps.PEER_COLOURS[0]):
        assert (abs(pixels - to_rgb(colour)).max(-1) < 0.02).sum() > 200, colour
    edges = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    assert all((edge == 1).all() for edge in edges)  # nothing is cut off
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert write_report(path.parent) == [page]
    assert "pip install 'vlp-fast[viz]'" in page.read_text()
    with pytest.raises(InputError, match=f"perhaps you meant {path.parent}"):
        write_report(tmp_path)
    with pytest.raises(InputError, match=r"holds no measurements$"):
        write_report(tmp_path / "nowhere")


def test_each_provider_has_a_marker_of_its_own_and_the_legend_is_beside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from matplotlib import pyplot

    kept: list[Any] = []
    monkeypatch.setattr(pyplot, "close", kept.append)
    names = ["vlp_fast", "vlp_fast codes prepared", *(f"peer {n}" for n in range(10))]
    rows = [{**one, "provider": name} for name in names for one in SIZES]
    sweeps.draw("dictionary", sweeps.find(comparisons(rows)), tmp_path / "drawn.png")
    (axes,) = kept[0].axes
    assert len({(line.get_marker(), line.get_color()) for line in axes.get_lines()}) == len(names)
    legend, inside = axes.get_legend().get_window_extent(), axes.get_window_extent()
    assert inside.x1 <= legend.x0 < legend.x1 <= axes.figure.bbox.x1
