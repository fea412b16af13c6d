"""A file with an object a line: what ends a line, and what a damaged one says."""

from pathlib import Path
from typing import Any

import pytest

from vlp_fast.data.sources.json_files import read_json_lines, text
from vlp_fast.data.sources.report import DataReport
from vlp_fast.errors import InputError


def contents(path: Path, report: DataReport | None = None) -> list[Any]:
    return [line.content for line in read_json_lines(path, report or DataReport())]


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1}\n{"a": 2}\n',
        b'{"a": 1}\n{"a": 2}',
        b'{"a": 1}\r\n{"a": 2}\r\n',
        b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n',
        b'\xef\xbb\xbf {"a": 1} \r\n\t{"a": 2}\r\n',
    ],
)
def test_ends_of_lines_and_marks_make_no_difference(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "lines.json"
    path.write_bytes(data)
    report = DataReport()
    assert contents(path, report) == [{"a": 1}, {"a": 2}]
    assert report.lines() == ()


def test_a_text_may_hold_what_unicode_calls_a_line_break(tmp_path: Path) -> None:
    path = tmp_path / "lines.json"
    path.write_text('{"a": "x\u2028y\u0085z\x0c"}\n'.replace("\x0c", "\\f"), encoding="utf-8")
    assert contents(path) == [{"a": "x\u2028y\u0085z\x0c"}]


def test_blank_lines_are_counted_and_numbers_still_right(tmp_path: Path) -> None:
    path = tmp_path / "lines.json"
    path.write_bytes(b'{"a": 1}\n\n \r\n{"b": 2}\n\n')
    report = DataReport()
    lines = list(read_json_lines(path, report))
    assert [line.line for line in lines] == [1, 4]
    assert report.lines() == ("3 blank lines passed over (the first: line 2 of lines.json)",)
    with pytest.raises(InputError, match=r"lines\.json: line 4, .*'a' is missing, expected str"):
        text(lines[1].content, "a", lines[1])


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (b'{"a": 1', "line 2 column 8: ends early (truncated)"),
        (b'{"a": 1} {"a": 2}', "line 2 column 10: is not valid JSON: Extra data"),
        (b"{'a': 1}", "line 2 column 2: is not valid JSON"),
        (b"[1, 2]", "line 2: is [1, 2], expected an object on each line"),
        (b"null", "line 2: is null, expected an object on each line"),
        (b'{"a": "\xff"}', "line 2, byte 7: is not text"),
        (b'{"a": ' + b"9" * 5000 + b"}", "line 2: holds a number of thousands of digits"),
        (b"[" * 100000, "line 2: is nested too deeply"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, second: bytes, expected: str) -> None:
    path = tmp_path / "lines.json"
    path.write_bytes(b'{"a": 1}\n' + second + b"\n" + b'{"a": 3}\n')
    with pytest.raises(InputError) as caught:
        contents(path)
    assert f"{path}, {expected}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_lines_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lines.json"
    for data in (b"", b"\n \n"):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"lines\.json: is empty"):
            contents(path)
    with pytest.raises(InputError, match=r"none\.json: No such file"):
        contents(tmp_path / "none.json")
    with pytest.raises(InputError, match="Is a directory"):
        contents(tmp_path)
