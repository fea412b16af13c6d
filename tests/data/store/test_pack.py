"""A packed data set is the unpacked one."""

import hashlib
import json
import multiprocessing
import os
import tarfile
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hard_images import BROKEN, hard_images
from packed_files import CUT, files

from vlp_fast.cli import main
from vlp_fast.data.broken_image import BrokenImage
from vlp_fast.data.encoded import EncodedReader
from vlp_fast.data.examples import ImageLoader
from vlp_fast.data.fingerprint import fingerprint
from vlp_fast.data.images import read_image
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources import load_dataset
from vlp_fast.data.sources.image_files import ImageFiles
from vlp_fast.data.sources.nlvr2 import load_nlvr2
from vlp_fast.data.sources.vqa import load_vqa
from vlp_fast.data.store.pack import pack
from vlp_fast.data.store.packed import PackedPicture, PackedPictures
from vlp_fast.data.store.shard_index import INDEX, read_index


def test_tar_reads_what_was_packed(small_world: Path, packed: Path) -> None:
    index, shards = read_index(packed / INDEX)
    assert shards == sorted(path.name for path in packed.glob("*.tar"))
    pictures = {k: v for k, v in files(small_world).items() if k.endswith((".png", ".jpg"))}
    assert list(index.names) == sorted(pictures)
    row = 0
    for number, name in enumerate(shards):
        with tarfile.open(packed / name, "r:") as tar:  # uncompressed
            for member in tar:
                assert member.isreg() and member.name == index.names[row]
                data = tar.extractfile(member).read()  # type: ignore[union-attr]
                assert data == pictures[member.name]
                assert (index.shard[row], index.offset[row]) == (number, member.offset_data)
                assert index.size[row] == len(data)
                assert index.sha256[row].tobytes() == hashlib.sha256(data).digest()
                picture = read_image(small_world / member.name)
                assert (index.height[row], index.width[row]) == picture.stored_size
                row += 1
    assert row == len(pictures)


def test_everything_else_goes_along_as_it_is(small_world: Path, packed: Path) -> None:
    theirs = {k: v for k, v in files(small_world).items() if not k.endswith((".png", ".jpg"))}
    ours = {k: v for k, v in files(packed).items() if not k.endswith(".tar")}
    assert set(ours) - set(theirs) == {INDEX, "packing.json"}
    assert all(ours[name] == content for name, content in theirs.items())


def assert_same_examples(first: Dataset, second: Dataset) -> None:
    loaders = [
        ImageLoader(dataset=dataset, shorter=(40, 48, 56), longer=90, seed=5)
        for dataset in (first, second)
    ]
    for epoch in range(2):
        for index in range(len(first.records)):
            one, two = (loader.load(index, epoch) for loader in loaders)
            assert torch.equal(one.pixels, two.pixels)
            assert torch.equal(one.boxes, two.boxes) and torch.equal(one.labels, two.labels)
            assert (one.index, one.captions) == (two.index, two.captions)
            assert (one.problem is None) == (two.problem is None)


@pytest.mark.parametrize("layout", ["world", "karpathy", "visual_genome"])
def test_a_packed_data_set_shows_the_same(small_world: Path, packed: Path, layout: str) -> None:
    for split in ("train", "val") if layout != "visual_genome" else ("train",):
        first, second = (
            load_dataset(root, split, layout=layout, needs_boxes=True)  # type: ignore[arg-type]
            for root in (small_world, packed)
        )
        assert all(isinstance(record.path, PackedPicture) for record in second.records)
        assert fingerprint(first) == fingerprint(second)
        assert (first.notes, first.keys()) == (second.notes, second.keys())
        assert np.array_equal(first.aspects(), second.aspects())
        assert_same_examples(first, second)


def test_sizes_come_from_the_index(
    small_world: Path, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_vqa(small_world, "val", missing_images="error")
    monkeypatch.setattr("vlp_fast.data.sources.image_files.read_size", None)  # never called
    second = load_vqa(packed, "val", missing_images="error")
    assert fingerprint(first) == fingerprint(second)
    assert_same_examples(first, second)


def test_a_folder_inside_has_its_pictures_in_the_shards_around_it(
    small_world: Path, packed: Path
) -> None:
    """NLVR2's of the world."""
    first = load_nlvr2(small_world / "nlvr2", "dev", missing_images="error")
    second = load_nlvr2(packed / "nlvr2", "dev", missing_images="error")
    assert len(second.records) == len(first.records) > 0
    for one, other in zip(first.records, second.records, strict=True):
        assert isinstance(other.path, PackedPicture)
        assert torch.equal(read_image(one.path).pixels, read_image(other.path).pixels)


def test_hard_pictures_are_read_or_refused_alike(tmp_path: Path) -> None:
    folder = tmp_path / "hard" / "images"
    folder.mkdir(parents=True)
    for name, content in hard_images().items():
        (folder / name).write_bytes(content)
    done = pack(folder.parent, tmp_path / "out")
    assert 0 < done.broken <= len(BROKEN)
    pictures = PackedPictures(tmp_path / "out")
    for name in pictures.names("images"):
        one = pictures.find(f"images/{name}")
        assert one is not None and one.name == name and one.stat().st_size == one.size
        for read in (read_image, EncodedReader()):
            try:
                expected = read(folder / name)
            except BrokenImage as error:
                reason = str(error).split(f"{name}: ", 1)[1]
                with pytest.raises(BrokenImage) as caught:
                    read(one)
                assert str(caught.value).split(f"{name}: ", 1)[1] == reason
                continue
            found = read(one)
            assert (found.size, found.orientation) == (expected.size, expected.orientation)
            for part in ("pixels", "content"):
                if hasattr(expected, part):
                    assert np.array_equal(getattr(found, part), getattr(expected, part))


def test_names_may_be_long_and_in_any_script(tmp_path: Path) -> None:
    names = [f"{'deep/' * 30}{'n' * 120}.jpg", "åäö/日本 語.png", "a.b.c.JPG", "~ 'x'.png"]
    for place, name in enumerate(names):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([place]) * (511 + place))
    pack(tmp_path / "in", tmp_path / "out")
    pictures = PackedPictures(tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        assert sorted(tar.getnames()) == sorted(names)
    for place, name in enumerate(names):
        found = pictures.find(name)
        assert found is not None
        assert found.open("rb").read() == bytes([place]) * (511 + place)


def test_a_file_that_was_put_there_later_counts(tmp_path: Path, write_image: Callable) -> None:
    write_image(tmp_path / "in/images/a.png", colour=(1, 2, 3))
    pack(tmp_path / "in", tmp_path / "out")
    new = write_image(tmp_path / "out/images/a.png", colour=(9, 9, 9))
    assert ImageFiles(tmp_path / "out").find(["images"], ["a.png"]) == new


def test_workers_change_nothing(small_world: Path, packed: Path, tmp_path: Path) -> None:
    pack(small_world, tmp_path / "out", shard_bytes=CUT, workers=5)
    assert files(tmp_path / "out") == files(packed)


def test_a_large_picture_is_packed_in_parts(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with (tmp_path / "in/a.jpg").open("wb") as large:
        large.truncate(300_000_000)
    tracemalloc.start()
    pack(tmp_path / "in", tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 30_000_000
    tracemalloc.stop()
    with tarfile.open(tmp_path / "out/shard-000000.tar") as tar:
        assert [member.size for member in tar] == [300_000_000]


def test_what_a_packed_folder_has_for_itself_is_not_copied(
    tmp_path: Path, write_image: Callable
) -> None:
    write_image(tmp_path / "in/a.png")
    for name in ("packing.json", "shards.url"):
        (tmp_path / "in" / name).write_text("{}")
    said: list[str] = []
    for is_new in (True, False):
        assert pack(tmp_path / "in", tmp_path / "out", say=said.append).is_new is is_new
    assert sum("stays where it is" in line for line in said) == 4
    assert PackedPictures(tmp_path / "out").find("a.png") is not None


def test_links_are_followed_once(tmp_path: Path, write_image: Callable) -> None:
    write_image(tmp_path / "elsewhere/a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/train2017").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/up").symlink_to(tmp_path / "in")
    pack(tmp_path / "in", tmp_path / "out")
    assert list(read_index(tmp_path / "out" / INDEX)[0].names) == ["train2017/a.png"]


def refusals(world: Path, packed: Path, tmp_path: Path) -> dict[str, tuple[Path, Path, str]]:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a.txt").write_text("")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/packing.json").write_text("{")
    return {
        "absent": (tmp_path / "absent", tmp_path / "out", "no such folder"),
        "no picture": (tmp_path / "empty", tmp_path / "out", "holds no picture"),
        "not empty": (world, tmp_path / "full", "is not empty"),
        "other files": (world, tmp_path / "begun", "packed from other files"),
        "inside": (world, world / "out", "is a part of"),
        "packed": (packed, tmp_path / "out", "is packed already"),
    }


@pytest.mark.parametrize(
    "which", ["absent", "no picture", "not empty", "other files", "inside", "packed"]
)
def test_refusals_are_one_line(
    small_world: Path,
    packed: Path,
    tmp_path: Path,
    which: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out, why = refusals(small_world, packed, tmp_path)[which]
    before = files(tmp_path)
    assert main(["data", "pack", str(source), str(out)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and why in said
    assert files(tmp_path) == before and not (tmp_path / "out").exists()


def test_the_command_line_packs_and_trains(
    small_world: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "pack", str(small_world), str(tmp_path / "out"), "--workers", "1"]) == 0
    assert f"shards in {tmp_path / 'out'}; train with" in capsys.readouterr().out
    rows = []
    for root in (small_world, tmp_path / "out"):
        words = ["--steps", "2", "--train.batch-size", "4", "--train.held-out-images", "3"]
        words += ["--model.width", "32", "--data.num-workers", "1", "--model.num-codes", "16"]
        words += ["--run-dir", str(tmp_path / f"run-{root.name}"), "--task.tagging-steps", "0"]
        assert main(["train", "soho_tiny", "--data.root", str(root), *words]) == 0
        journal = (tmp_path / f"run-{root.name}" / "metrics.jsonl").read_text()
        rows.append(
            [
                {k: v for k, v in json.loads(line).items() if "second" not in k and "per_" not in k}
                for line in journal.splitlines()
            ]
        )
    losses = [[row.get("loss") for row in run] for run in rows]
    assert losses[0] == losses[1] and any(losses[0])


def digests(pictures: list[PackedPicture]) -> list[bytes]:
    return [hashlib.sha256(picture.open("rb").read()).digest() for picture in pictures]


def test_threads_and_forked_processes_read_at_once(packed: Path) -> None:
    index, _ = read_index(packed / INDEX)
    pictures = [PackedPictures(packed).find(name) for name in index.names]
    assert all(pictures)
    expected = [row.tobytes() for row in index.sha256]
    assert digests(pictures) == expected  # type: ignore[arg-type]
    wrong: list[int] = []

    def read() -> None:
        for _ in range(20):
            if digests(pictures) != expected:  # type: ignore[arg-type]
                wrong.append(1)

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=lambda: os._exit(read() or len(wrong))) for _ in range(3)]
    threads = [threading.Thread(target=read) for _ in range(4)]
    for worker in (*processes, *threads):
        worker.start()
    for worker in (*processes, *threads):
        worker.join()
    assert not wrong and [process.exitcode for process in processes] == [0, 0, 0]
