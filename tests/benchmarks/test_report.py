"""A small ledger as a table and as a picture."""

from pathlib import Path

import pytest

from vlp_fast.benchmarks import ledger, table
from vlp_fast.benchmarks.comparison import comparisons
from vlp_fast.benchmarks.ledger import Row
from vlp_fast.benchmarks.report import write_report
from vlp_fast.errors import InputError


def row(provider: str, median: float | None, **changes: str) -> Row:
    """A row of the case `solve` on an H200."""
    values = dict.fromkeys(ledger.COLUMNS, "")
    values |= {"operator": "matching", "case": "solve", "provider": provider, "device": "H200"}
    values |= {"direction": "forward", "dtype": "float32", "cache": "cold", "cpu_threads": "2"}
    values |= {"torch": "2.11.0", "vlp_fast": "0.1.0", "commit": "abc1234", "date": "2026-11-21"}
    if median is not None:
        values |= {"median_us": f"{median}", "p20_us": f"{0.9 * median}", "p80_us": f"{median}"}
        values |= {
            "host_us": "7.5",
            "wall_us": "60",
            "compilations": "3",
            "limit_fraction": "0.125",
            "extra_mib": "3174.4",
        }
    return values | changes


OLD = [row("vlp_fast", 999.0, date="2026-11-20"), row("gone", 5.0, date="2026-11-20")]
NEW = [
    row("vlp_fast", 50.0, backend="cuda"),
    row("SciPy", 1500.0),
    row("peer", 25.0),
    row("lapx", None, note="not installed: pip install lapx", cache=""),
]
HOT = [row("vlp_fast", 40.0, cache="hot"), row("SciPy", 1490.0, cache="hot")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (path,) = ledger.append([*OLD, *NEW, *HOT], tmp_path)
    return path.parent


def test_the_latest_run_is_compared_and_cold_apart_from_hot() -> None:
    cold, hot = comparisons([*OLD, *NEW, *HOT])
    assert list(cold.rows) == NEW
    assert list(hot.rows) == [NEW[3], *HOT]  # who is missing is missing in both
    assert (cold.title, hot.title[-5:]) == ("solve (forward, float32, cold)", " hot)")


def test_a_quick_run_says_so_and_takes_no_other_runs_place() -> None:
    quick = [row("vlp_fast", 9.0, note="quick"), row("lapx", None, note="not installed", cache="")]
    quick = [{**one, "date": "2026-11-22"} for one in quick]
    (alone,) = comparisons(quick)
    assert alone.title.endswith("a quick run: figures mean little)")
    assert "9.00 us" in table.text([alone])
    (real,) = comparisons([*NEW, *quick])
    assert list(real.rows) == NEW
    assert "quick" not in real.title


def test_rows_that_were_merged_later_are_no_later_run() -> None:
    (found,) = comparisons([*NEW, *OLD])
    assert list(found.rows) == NEW


def test_a_busy_machine_is_told() -> None:
    (busy,) = comparisons([row("vlp_fast", 50.0, others_cpu="0.312")])
    assert busy.title == "solve (forward, float32, cold, others took 31% of the CPUs)"
    (quiet,) = comparisons([row("vlp_fast", 50.0, others_cpu="0.04")])
    assert "others" not in quiet.title


def test_ours_stands_beside_each_peer() -> None:
    text = table.text(comparisons(NEW)).splitlines()
    assert "vlp_fast is" in text[1]
    assert text[2].split()[:4] == ["vlp_fast", "(cuda)", "50.0", "us"]
    assert "30.0x faster" in text[3]
    assert "2.00x slower" in text[4]
    assert text[5].split(None, 1) == ["lapx", "not installed: pip install lapx"]
    assert "12 %" in text[2]
    assert "3.10 GiB" in text[2]
    assert "waits" not in text[1]  # a column that nobody fills is left out


def test_our_other_rows_keep_their_names() -> None:
    names = [
        table.name(row(provider, 1.0, backend="cuda"))
        for provider in ("vlp_fast", "vlp_fast cuda", "vlp_fast HungarianMatcher")
    ]
    assert names == ["vlp_fast (cuda)", "vlp_fast (cuda)", "vlp_fast HungarianMatcher (cuda)"]


def test_a_commit_that_is_not_known_is_told_loudly() -> None:
    assert "COMMIT UNKNOWN (VLP_FAST_COMMIT)" in table.machine(row("vlp_fast", 1.0, commit=""))
    assert "commit abc1234;" in table.machine(row("vlp_fast", 1.0))


def test_a_page_and_a_picture(folder: Path) -> None:
    page, picture = write_report(folder)
    assert (page.name, picture.name) == ("report.md", "matching.png")
    words = page.read_text()
    assert "| **vlp_fast (cuda)** | **50.0 us** |" in words
    assert "30.0x faster" in words
    assert "not installed: pip install lapx" in words
    assert "commit abc1234" in words
    assert "999 us" not in words
    assert "![matching](matching.png)" in words


def test_the_picture_shows_ours_in_its_colour(folder: Path) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.pyplot import imread

    from vlp_fast.benchmarks.plot import OURS_COLOUR, PEER_COLOUR

    write_report(folder)
    pixels = imread(folder / "matching.png")[..., :3]
    for colour in (OURS_COLOUR, PEER_COLOUR):
        is_colour = abs(pixels - to_rgb(colour)).max(-1) < 0.02
        assert is_colour.sum() > 200, colour
    edges = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    assert all((edge == 1).all() for edge in edges)  # nothing is cut off


def test_a_folder_without_measurements_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"perhaps you meant {folder}"):
        write_report(tmp_path)
    with pytest.raises(InputError, match=r"holds no measurements$"):
        write_report(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("microseconds", "written"),
    [
        ("", ""),
        ("0.123", "0.12 us"),
        ("9.996", "10.0 us"),
        ("999.4", "999 us"),
        ("1500", "1.50 ms"),
        ("2340000", "2.34 s"),
    ],
)
def test_times_are_readable(microseconds: str, written: str) -> None:
    assert table.time(microseconds) == written


@pytest.mark.parametrize(
    ("mib", "written"),
    [
        ("", ""),
        ("0", "0.00 MiB"),
        ("12.34", "12.3 MiB"),
        ("1023", "1023 MiB"),
        ("1536", "1.50 GiB"),
    ],
)
def test_memory_is_readable(mib: str, written: str) -> None:
    assert table.memory(mib) == written
