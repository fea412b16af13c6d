"""The ledger: rows that come back as they were written, and are only ever added to."""

from pathlib import Path

import pytest

from vlp_fast.benchmarks import ledger
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


def test_rows_come_back_as_written_and_are_only_added(path: Path, tmp_path: Path) -> None:
    before = path.read_text()
    missing = row("peer", median_us="", note='not here: "pip", x | y')
    assert ledger.append([missing], tmp_path) == [path]
    assert ledger.read(path) == [row(), missing]
    assert path.read_text().startswith(before)
    assert path.read_text().count("operator,case") == 1


def test_a_file_without_a_last_newline_or_without_anything_gets_its_row(
    path: Path, tmp_path: Path
) -> None:
    path.write_text(path.read_text().rstrip("\n"))
    ledger.append([row("peer")], tmp_path)
    assert ledger.read(path) == [row(), row("peer")]
    path.write_text("")
    ledger.append([row("peer")], tmp_path)
    assert ledger.read(path) == [row("peer")]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (",3.5,", ",quick,", "row 2 has 'quick' as median_us, which is no number"),
        (",3.5,", ",nan,", "row 2 has 'nan' as median_us"),
        (",3.5,", ",", "row 2 has not 35 entries"),
        (",3.5,", ",3.5,,", "row 2 has not 35 entries"),
        (",3.5,", ',"3.5,', "cannot be read"),
        ("operator,case", "operator,shape", "has not the columns"),
    ],
)
def test_a_damaged_file_is_one_line_and_stays(
    path: Path, tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    assert len(ledger.COLUMNS) == 35
    damaged = path.read_text().replace(old, new, 1)
    path.write_text(damaged)
    for use in (
        lambda: ledger.read(path),
        lambda: ledger.append([row()], tmp_path),
        lambda: ledger.check_writable(tmp_path, "NVIDIA H200", ["reading"]),
    ):
        with pytest.raises(InputError, match=complaint) as caught:
            use()
        assert "\n" not in str(caught.value)
    assert path.read_text() == damaged


@pytest.mark.parametrize("known", [(), ("wrong_share",)])
def test_a_file_of_before_a_column_was_added(
    path: Path, tmp_path: Path, known: tuple[str, ...]
) -> None:
    columns = [name for name in ledger.COLUMNS if name in known or name not in ledger.ADDED]
    lines = [columns, [row().get(name, "") for name in columns]]
    path.write_text("".join(",".join(line) + "\n" for line in lines))
    before = path.read_text()
    assert ledger.read(path) == [row()]
    assert path.read_text() == before  # who only reads does not write
    mode = path.stat().st_mode
    newer = row("peer", extra_mib="12.5")
    ledger.append([newer], tmp_path)
    assert ledger.read(path) == [row(), newer]
    assert path.read_text().splitlines()[0] == ",".join(ledger.COLUMNS)
    assert path.stat().st_mode == mode
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_file_is_told_to_readers_only(path: Path, tmp_path: Path) -> None:
    path.write_text("")
    with pytest.raises(InputError, match=r"reading\.csv: is empty"):
        ledger.read(path)
    ledger.check_writable(tmp_path, "NVIDIA H200", ["reading"])


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written .*--out"):
        ledger.append([row()], tmp_path / "file")
    with pytest.raises(InputError, match=r"cannot be written .*--out"):
        ledger.check_writable(tmp_path / "file", "NVIDIA H200", [])


def test_what_the_ledger_lacks_is_merged_once(path: Path, tmp_path: Path) -> None:
    new, quick = row("peer"), row("other", note="quick")
    (elsewhere,) = ledger.append([row(), new, quick], tmp_path / "elsewhere")
    for source, count in ((tmp_path / "elsewhere", 1), (elsewhere.parent, 0)):
        assert ledger.merge(source, tmp_path) == {path: count}
        assert ledger.read(path) == [row(), new]
    with pytest.raises(InputError, match="holds no measurements"):
        ledger.merge(tmp_path / "nowhere", tmp_path)


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
