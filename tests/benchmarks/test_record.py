"""The ledger: rows that come back as they were written, and are only ever added to."""

from pathlib import Path

import pytest

from vlp_fast.benchmarks import record
from vlp_fast.benchmarks.case import Case, Provider
from vlp_fast.benchmarks.harness import Result, Timing
from vlp_fast.benchmarks.limits import limit_fraction
from vlp_fast.benchmarks.timing import Spread
from vlp_fast.errors import InputError


def result(provider: str = "vlp_fast", **changes: object) -> Result:
    """Three milliseconds to read a gigabyte, compared with a peer that is missing."""
    case = Case(
        operator="reading",
        name="1GB",
        providers={"vlp_fast": Provider(run=lambda: 0, backend="cuda")},
        error=lambda _: 0.0,
        tolerance=0.0,
        num_bytes=10**9,
        flops=6 * 10**9,
    )
    timing = Timing(cache="cold", device=Spread(median=3e-3, p20=2.5e-3, p80=4e-3), host=12.3456e-6)
    told = {"error": 1.5e-7, "first": 2.0, "compilations": 1, "synchronisations": 0.0}
    return Result(case=case, provider=provider, **{**told, "timings": [timing], **changes})


def test_rows_come_back_as_written_and_are_only_added(tmp_path: Path) -> None:
    missing = Result(case=result().case, provider="peer", problem='not here: "pip", x | y')
    rows = record.rows([result(), missing], "cpu")
    (path,) = record.append(rows[:1], tmp_path)
    assert record.append(rows[1:], tmp_path) == [path]
    assert path == tmp_path / record.device_folder(rows[0]["device"]) / "reading.csv"
    assert record.read(path) == rows
    assert path.read_text().count("operator,case") == 1


def test_a_row_says_all_that_it_depends_on() -> None:
    (row,) = record.rows([result()], "cpu")
    assert tuple(sorted(row)) == tuple(sorted(record.COLUMNS))
    expected = {
        "backend": "cuda",
        "cache": "cold",
        "median_us": "3000",
        "p20_us": "2500",
        "p80_us": "4000",
        "host_us": "12.35",
        "first_us": "2000000",
        "compilations": "1",
        "synchronisations": "0",
        "gb_per_s": "333.3",
        "tflop_per_s": "2.000",
        "limit_fraction": "",  # nobody has written down what this CPU can do
        "max_error": "1.5e-07",
        "note": "",
    }
    assert {column: row[column] for column in expected} == expected
    for column in ("device", "cpu_threads", "torch", "numpy", "scipy", "vlp_fast"):
        assert row[column], column


def test_what_was_not_measured_has_a_note_and_no_figures() -> None:
    (row,) = record.rows([Result(case=result().case, provider="peer", problem="why")], "cpu")
    assert row["note"] == "why"
    assert not any(row[c] for c in ("median_us", "host_us", "compilations", "max_error"))


def test_other_columns_are_refused_and_kept(tmp_path: Path) -> None:
    rows = record.rows([result()], "cpu")
    path = tmp_path / record.device_folder(rows[0]["device"]) / "reading.csv"
    path.parent.mkdir()
    path.write_text("operator,microseconds\nreading,3\n")
    with pytest.raises(InputError, match="has not the columns"):
        record.append(rows, tmp_path)
    assert path.read_text() == "operator,microseconds\nreading,3\n"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written .*--out"):
        record.append(record.rows([result()], "cpu"), tmp_path / "file")


@pytest.mark.parametrize(
    ("device", "folder"),
    [
        ("NVIDIA H200", "h200"),
        ("AMD EPYC, 2 cores", "cpu-2-cores"),
        ("Intel(R) Xeon(R), 1 core", "cpu-1-cores"),
        ("Tesla V100-SXM2-32GB", "tesla-v100-sxm2-32gb"),
    ],
)
def test_device_folders(device: str, folder: str) -> None:
    assert record.device_folder(device) == folder


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, ""),
        (float("nan"), ""),
        (0.0, "0"),
        (0.00123456, "0.001235"),
        (1.0, "1.000"),
        (999.96, "1000.0"),
        (123456.7, "123457"),
        (3e-9, "3e-09"),
    ],
)
def test_numbers_have_four_digits(value: float | None, written: str) -> None:
    assert record.number(value) == written
    if written:
        assert float(written) == pytest.approx(value, rel=1e-3)


def test_without_a_checkout_rows_go_to_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert record.results_folder() == record.HERE / "results"
    monkeypatch.setattr(record, "HERE", tmp_path / "site-packages" / "vlp_fast" / "benchmarks")
    assert record.results_folder() == Path("benchmarks/results")
    record.environment.cache_clear()
    assert record.environment("cpu")["commit"] == ""
    record.environment.cache_clear()


def test_the_limit_is_the_slower_of_memory_and_arithmetic() -> None:
    h200 = "NVIDIA H200"
    assert limit_fraction(h200, "float32", 1.0, 4_800 * 10**9, None) == pytest.approx(1.0)
    assert limit_fraction(h200, "float32", 2.0, 10**9, 67 * 10**12) == pytest.approx(0.5)
    assert limit_fraction(h200, "bfloat16", 1.0, None, 989 * 10**12) == pytest.approx(1.0)
    assert limit_fraction(h200, "float64", 1.0, None, 1) is None
    assert limit_fraction(h200, "float32", 1.0, None, None) is None
    assert limit_fraction("some device", "float32", 1.0, 1, 1) is None
