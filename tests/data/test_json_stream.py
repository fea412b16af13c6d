"""Lists that are parsed an entry at a time are what they are as a whole, or told in its words."""

import json
import random
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.data.sources import json_stream
from vlp_fast.data.sources.json_files import identity, read_json, table
from vlp_fast.data.sources.json_stream import read_entries
from vlp_fast.data.store.consulted import noting
from vlp_fast.errors import InputError

ROWS: list[dict[str, Any]] = [
    {},
    {"a": ']},{[\\"', "b": [1, -2.5e3, None, True, {"c": []}]},
    {"é": "日本語\u2028\ud83d\ude00", "deep": [[[[{}]]]]},
    {"long": "x" * 500},
    {"text": 'quote " and \\ and {'},
]


@pytest.fixture(autouse=True, params=[1, 7, 2**22])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that are read at once."""
    monkeypatch.setattr(json_stream, "BLOCK", request.param)
    return int(request.param)


def entries(path: Path) -> list[Any]:
    files = list(read_entries(path))
    assert [file.index for file in files] == list(range(len(files)))
    return [file.content for file in files]


@pytest.mark.parametrize("rows", [[], ROWS[:1], ROWS, ROWS * 3])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_entries_are_those_of_the_whole(
    tmp_path: Path, rows: list[Any], indent: int | None, encoding: str
) -> None:
    path = tmp_path / "a.json"
    said = json.dumps(rows, indent=indent, ensure_ascii=len(rows) == 5)
    path.write_bytes(f" \n{said}\t\n".encode(encoding, "surrogatepass"))
    with noting() as first:
        found = entries(path)
    with noting() as second:
        assert found == read_json(path).content
    assert (first.digests, first.read, first.files) == (second.digests, second.read, second.files)


def test_entries_in_zip_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.json.zip", "w") as archive:
        archive.writestr("a.json", json.dumps(ROWS))
    assert entries(tmp_path / "a.json") == json.loads(json.dumps(ROWS))


def test_any_damage_is_told_as_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    content = json.dumps(ROWS, ensure_ascii=False).encode("utf-8", "surrogatepass")
    harmed = [content[:n] for n in range(0, len(content), 9)]
    harmed += [b"", b"{}", b"[1]", b"[{}, 2]", b"[{},]", b"[,{}]", b"[{}{}]", b"[{}]x", b"[" * 9999]
    draw = random.Random(0)
    for _ in range(60):
        one = bytearray(content)
        one[draw.randrange(len(one))] = draw.randrange(256)
        harmed.append(bytes(one))
    refused = 0
    for one in harmed:
        path.write_bytes(one)
        try:
            whole = table(read_json(path), None)
        except InputError as error:
            refused += 1
            with pytest.raises(InputError) as caught:
                entries(path)
            assert str(caught.value) == str(error)
        else:
            assert entries(path) == whole
    assert refused > len(harmed) // 2


def test_a_field_is_told_with_its_entry(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"id": 1}, {"id": "x"}]')
    first, second = read_entries(path)
    assert identity(first.content, "id", first) == 1
    with pytest.raises(InputError, match=r"entry 1 of the list, .*'id' is \"x\""):
        identity(second.content, "id", second)
    with pytest.raises(InputError, match=r"absent\.json"):
        list(read_entries(tmp_path / "absent.json"))


def test_few_entries_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "BLOCK", 2**18)
    path = tmp_path / "a.json"
    rows = [{"id": n, "of": [{"x": n + m} for m in range(40)]} for n in range(10_000)]
    path.write_text(json.dumps(rows))
    del rows
    size = path.stat().st_size
    tracemalloc.start()
    count = sum(1 for _ in read_entries(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_000 and peak < 2**21 < size
