"""What of a packed data set is missing, damaged or elsewhere."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from vlp_fast.data.broken_image import BrokenImage
from vlp_fast.data.images import read_image
from vlp_fast.data.sources import load_dataset
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


def test_a_shard_that_is_cut_is_a_broken_picture(packed: Path) -> None:
    shard = packed / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:700])
    picture = PackedPictures(packed).find(first_name(packed))
    assert picture is not None
    with pytest.raises(BrokenImage, match="ends before this picture"):
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
    for shard in packed.glob("*.tar"):
        with fsspec.open(f"{url}/{shard.name}", "wb") as file:
            file.write(shard.read_bytes())
        shard.unlink()
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
    (tmp_path / "shard-000000.tar").touch()
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
