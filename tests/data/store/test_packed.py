"""What of a packed data set is missing, damaged or elsewhere."""

import shutil
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from vlp_fast.data.broken_image import BrokenImage
from vlp_fast.data.images import read_image
from vlp_fast.data.sources import load_dataset
from vlp_fast.data.store import shard
from vlp_fast.data.store.pack import pack
from vlp_fast.data.store.packed import ELSEWHERE, PackedPictures
from vlp_fast.data.store.shard_index import INDEX, ShardIndex, read_index
from vlp_fast.data.store.texts import Texts
from vlp_fast.errors import InputError


@pytest.fixture
def packed(small_world: Path, tmp_path: Path) -> Path:
    pack(small_world, tmp_path / "packed", shard_bytes=60_000)
    return tmp_path / "packed"


def first_name(root: Path) -> str:
    return read_index(root / INDEX)[0].names[0]


def test_a_missing_shard_is_told_at_once(packed: Path) -> None:
    (packed / "shard-000001.tar").unlink()
    with pytest.raises(InputError, match=r"1 of \d+ shards are not there, the first is shard-0000"):
        load_dataset(packed, "train")


def test_a_shard_that_is_cut_is_told_at_once_or_is_a_broken_picture(packed: Path) -> None:
    cut = packed / "shard-000000.tar"
    picture = PackedPictures(packed).find(first_name(packed))
    assert picture is not None
    cut.write_bytes(cut.read_bytes()[:700])
    with pytest.raises(BrokenImage, match="ends before this picture"):
        read_image(picture)
    with pytest.raises(InputError, match=r"has 700 bytes, and the index is of a shard of \d"):
        load_dataset(packed, "train")


def test_other_bytes_than_were_packed_are_no_picture(packed: Path) -> None:
    """Another picture in its place would be learnt from without a word."""
    index, _ = read_index(packed / INDEX)
    one, other = (
        next(n for n in range(len(index)) if index.shard[n] == number) for number in (0, 1)
    )
    shards = [packed / f"shard-00000{n}.tar" for n in (0, 1)]
    first, second = (bytearray(path.read_bytes()) for path in shards)
    size = min(int(index.size[one]), int(index.size[other]))
    place = int(index.offset[one])
    first[place : place + size] = second[index.offset[other] :][:size]
    shards[0].write_bytes(first)
    picture = PackedPictures(packed).find(index.names[one])
    assert picture is not None
    with pytest.raises(BrokenImage, match=r"other bytes here than were packed; copy or pack"):
        read_image(picture)


def test_an_index_of_another_packing_is_told(packed: Path, small_world: Path) -> None:
    pack(small_world, packed.with_name("other"), shard_bytes=50_000)
    shutil.copy(packed.with_name("other") / INDEX, packed / INDEX)
    with pytest.raises(InputError, match=r"shards are not there|the index is of a shard of"):
        load_dataset(packed, "train")


UNSOUND: dict[str, dict[str, object]] = {
    "a shard too many": {"shard": np.array([7], dtype=np.int32)},
    "none": {"shard": np.array([-1], dtype=np.int32)},
    "before the file": {"offset": np.array([-512])},
    "a length short": {"size": np.zeros(0, dtype=np.int64)},
    "fractions": {"width": np.array([1.5])},
    "half a hash": {"sha256": np.zeros((1, 16), dtype=np.uint8)},
    "names elsewhere": {"names": Texts(np.zeros(3, dtype=np.uint8), np.array([0, 9]))},
    "names backwards": {"names": Texts(np.zeros(3, dtype=np.uint8), np.array([3, 0]))},
    "shards elsewhere": {},
}


@pytest.mark.parametrize("what", UNSOUND)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path, what: str) -> None:
    one = np.ones(1, dtype=np.int64)
    columns: dict[str, object] = {
        "names": Texts.of(["a.jpg"]),
        **dict.fromkeys(("offset", "size", "width", "height", "orientation"), one),
        "shard": 0 * one,
        "sha256": np.zeros((1, 32), dtype=np.uint8),
    }
    ShardIndex(**columns).write(tmp_path / INDEX, ["a.tar"])  # type: ignore[arg-type]
    read_index(tmp_path / INDEX)
    shards = ["../a.tar" if what == "shards elsewhere" else "a.tar"]
    ShardIndex(**columns | UNSOUND[what]).write(tmp_path / INDEX, shards)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is of no shards; pack the data set again"):
        read_index(tmp_path / INDEX)


def test_more_shards_than_a_process_may_have_files(packed: Path) -> None:
    resource = pytest.importorskip("resource")
    index, names = read_index(packed / INDEX)
    pictures = PackedPictures(packed)
    reading = [pictures.find(index.names[row]) for row in range(len(index))]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(path.name) for path in Path("/dev/fd").iterdir()) + 1
    shard._opened.cache_clear()
    few = lru_cache(maxsize=3)(shard._Opened)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard, "_opened", few)
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 8, before[1]))
        try:
            for picture in [*reading, *reading[::-1]]:
                assert picture is not None and picture.open().read()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(names) > 8
    assert shard.MOST_OPEN < 1024 // 2 and shard._opened.cache_info().maxsize == shard.MOST_OPEN


def test_a_server_that_sends_the_whole_file_is_told(packed: Path) -> None:
    memory = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem

    def whole(self: object, path: str, start: int, end: int) -> bytes:
        return bytes(end + 1)

    (packed / ELSEWHERE).write_text("memory://shards")
    picture = PackedPictures(packed).find(first_name(packed))
    assert picture is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "cat_file", whole)
        with pytest.raises(BrokenImage, match="HTTP Range"):
            read_image(picture)


@pytest.mark.parametrize("place", [9, 300, -40, None])
def test_a_damaged_index_is_told(packed: Path, place: int | None) -> None:
    content = bytearray((packed / INDEX).read_bytes())
    if place is None:
        content = content[: len(content) // 2]
    else:
        content[place] ^= 64
    (packed / INDEX).write_bytes(content)
    with pytest.raises(InputError, match="pack the data set again") as caught:
        load_dataset(packed, "train")
    assert "\n" not in str(caught.value)


def test_the_index_may_be_read_by_all(packed: Path) -> None:
    plain = packed / "packing.json"
    assert (packed / INDEX).stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_shards_may_be_behind_a_url(packed: Path, tmp_path: Path, kind: str) -> None:
    fsspec = pytest.importorskip("fsspec")
    before = read_image(PackedPictures(packed).find(first_name(packed)))  # type: ignore[arg-type]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    url = f"file://{elsewhere}" if kind == "file" else "memory://shards/of/world"
    for path in packed.glob("*.tar"):
        with fsspec.open(f"{url}/{path.name}", "wb") as file:
            file.write(path.read_bytes())
        path.unlink()
    (packed / ELSEWHERE).write_text(f"{url}/\n")
    picture = PackedPictures(packed).find(first_name(packed))
    assert picture is not None and str(picture).startswith(url)
    assert (read_image(picture).pixels == before.pixels).all()


def test_a_url_without_its_shard_is_a_broken_picture(packed: Path) -> None:
    pytest.importorskip("fsspec")
    (packed / ELSEWHERE).write_text("memory://nowhere")
    picture = PackedPictures(packed).find(first_name(packed))
    assert picture is not None
    with pytest.raises(BrokenImage):
        read_image(picture)


def test_what_cannot_open_a_url_is_told(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (packed / ELSEWHERE).write_text("nosuchprotocol://bucket/a")
    with pytest.raises(InputError, match="cannot be opened by fsspec"):
        load_dataset(packed, "train")
    monkeypatch.setattr("vlp_fast.data.store.shard.find_spec", lambda name: None)
    with pytest.raises(InputError, match="fsspec, which is not installed"):
        load_dataset(packed, "train")


def test_an_index_of_120_000_pictures_is_read_in_a_second(tmp_path: Path) -> None:
    count = 120_000
    zeros = np.zeros(count, dtype=np.int64)
    index = ShardIndex(
        names=Texts.of(f"train2017/{i:012d}.jpg" for i in range(count)),
        shard=zeros.astype(np.int32),
        offset=np.arange(count),
        size=zeros,
        width=zeros.astype(np.int32),
        height=zeros.astype(np.int32),
        orientation=zeros.astype(np.uint8),
        sha256=np.zeros((count, 32), dtype=np.uint8),
    )
    index.write(tmp_path / INDEX, ["shard-000000.tar"])
    with (tmp_path / "shard-000000.tar").open("wb") as shard_file:
        shard_file.truncate(*index.shard_sizes(1))
    start = time.process_time()
    pictures = PackedPictures(tmp_path)
    assert len(pictures.names("train2017")) == count
    assert time.process_time() - start < 1
    found = pictures.find("train2017/000000119999.jpg")
    assert found is not None and found.offset == count - 1


def test_texts_come_back_as_they_were() -> None:
    words = ["", "a", "日本語", "\udcff.jpg", "", "line\nbreak", "z" * 1000, ""]
    texts = Texts.of(words)
    assert list(texts) == words and texts[-2] == words[-2] and texts[2:5] == words[2:5]
    with pytest.raises(IndexError):
        texts[len(words)]
    assert list(Texts.of([])) == []


def test_a_copy_of_the_folder_serves(packed: Path, tmp_path: Path) -> None:
    shutil.move(packed, tmp_path / "moved")
    assert len(load_dataset(tmp_path / "moved", "val").records) == 3
