"""The ledger: rows that come back as they were written, and are only ever added to."""

from pathlib import Path

import pytest

from vlp_fast.benchmarks import LATENCY, OPERATORS, STEP, ledger
from vlp_fast.benchmarks.ledger import Row
from vlp_fast.errors import InputError


def row(provider: str = "vlp_fast", **changes: str) -> Row:
    """A row of an H200."""
    known = {"operator": "reading", "case": "1GB", "provider": provider, "device": "NVIDIA H200"}
    return {**dict.fromkeys(ledger.COLUMNS, ""), **known, "median_us": "3.5", **changes}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one row."""
    (written,) = ledger.append([row()], tmp_path)
    assert written == tmp_path / "h200" / "reading.csv"
    return written


def test_rows_come_back_as_written_and_are_added_once(path: Path, tmp_path: Path) -> None:
    before = path.read_text()
    missing = row("peer", median_us="", note='not here: "pip", x | y')
    assert ledger.append([row(), missing], tmp_path) == {path: 1}
    assert ledger.append([missing], tmp_path) == {path: 0}
    assert ledger.read(path) == ledger.read_folder(tmp_path) == [row(), missing]
    assert ledger.read_folder(path.parent) == [row(), missing]
    assert path.read_text().startswith(before)
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]
    path.write_text("")
    assert ledger.append([row("peer")], tmp_path) == {path: 1}
    assert ledger.read(path) == [row("peer")]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (",3.5,", ",quick,", "row 2 is damaged"),
        (",3.5,", ",nan,", "row 2 is damaged"),
        (",3.5,", ",", "row 2 is damaged"),
        (",3.5,", ",3.5,,", "row 2 is damaged"),
        (",3.5,", ',"3.5,', "cannot be read"),
        ("operator,case", "operator,shape", "has not the columns"),
        ("operator,case", "case,operator", "has not the columns"),
    ],
)
def test_a_damaged_file_is_one_line_and_stays(
    path: Path, tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    damaged = path.read_text().replace(old, new, 1)
    path.write_text(damaged)
    for use in (lambda: ledger.read(path), lambda: ledger.append([row("peer")], tmp_path)):
        with pytest.raises(InputError, match=complaint) as caught:
            use()
        assert "\n" not in str(caught.value)
    assert path.read_text() == damaged


def test_a_file_of_before_a_column_was_added(path: Path, tmp_path: Path) -> None:
    columns = [name for name in ledger.COLUMNS if name not in ("wrong_share", "extra_mib")]
    lines = [columns, [row().get(name, "") for name in columns]]
    path.write_text("".join(",".join(line) + "\n" for line in lines))
    before = path.read_text()
    assert ledger.read(path) == [row()]
    assert path.read_text() == before  # who only reads does not write
    newer = row("peer", extra_mib="12.5")
    ledger.append([newer], tmp_path)
    assert ledger.read(path) == [row(), newer]
    assert path.read_text().splitlines()[0] == ",".join(ledger.COLUMNS)


def test_every_row_of_the_checkout_is_still_read() -> None:
    kept = ledger.read_folder(ledger.HERE / "results")
    assert len(kept) > 300
    assert {row["operator"] for row in kept} - {STEP, LATENCY} == set(OPERATORS)


def test_what_is_not_there_or_not_to_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written .*--out"):
        ledger.append([row()], tmp_path / "file")
    with pytest.raises(InputError, match="holds no measurements"):
        ledger.read_folder(tmp_path / "nowhere")


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
    assert ledger.device_folder(device) == folder


def test_without_a_checkout_rows_go_to_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert ledger.results_folder() == ledger.HERE / "results"
    monkeypatch.setattr(ledger, "HERE", tmp_path / "site-packages" / "vlp_fast" / "benchmarks")
    assert ledger.results_folder() == Path("benchmarks/results")
