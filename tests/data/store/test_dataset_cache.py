"""What was read of annotation files is kept, and never taken for what is there now."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlp_fast.data.fingerprint import fingerprint
from vlp_fast.data.mixture import mix
from vlp_fast.data.record_table import RecordTable
from vlp_fast.data.records import Dataset
from vlp_fast.data.samples import Hypothesis, Question, Sample, Statement
from vlp_fast.data.sources import json_files, json_stream, load_dataset, load_datasets
from vlp_fast.data.sources.nlvr2 import load_nlvr2
from vlp_fast.data.sources.snli_ve import load_snli_ve
from vlp_fast.data.sources.vqa import load_vqa
from vlp_fast.data.store import dataset_cache
from vlp_fast.data.store.pack import pack
from vlp_fast.data.store.sample_rows import rows_of, samples_of
from vlp_fast.errors import InputError

SPLITS = ("train", "val")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Even the smallest are kept, in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(dataset_cache, "SMALLEST", 1)
    return tmp_path / "cache" / "vlp_fast"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each file is parsed."""
    counts: Counter[str] = Counter()
    parse = json_files._parsed

    def counted(data: bytes, path: Path, line: int | None) -> Any:
        counts[path.name] += 1
        return parse(data, path, line)

    entries = json_stream._entries

    def counted_entries(path: Path, file: Any) -> Any:
        counts[path.name] += 1
        return entries(path, file)

    monkeypatch.setattr(json_files, "_parsed", counted)
    monkeypatch.setattr(json_stream, "_entries", counted_entries)
    yield counts


def assert_same(first: Dataset, second: Dataset) -> None:
    assert fingerprint(first) == fingerprint(second)
    for name in (*dataset_cache.WORDS, "left_out", "needs_boxes", "foreign_captions"):
        assert getattr(first, name) == getattr(second, name)
    for one, two in zip(first.records, second.records, strict=True):
        assert (one.path, one.coco_id, one.captions) == (two.path, two.coco_id, two.captions)
        assert one.labels.dtype == two.labels.dtype and one.boxes.dtype == two.boxes.dtype


@pytest.mark.parametrize("layout", ["karpathy", "visual_genome"])
def test_files_are_parsed_once_and_then_never(
    small_world: Path, parsed: Counter[str], layout: Any
) -> None:
    splits = ("train", "train") if layout == "visual_genome" else SPLITS
    first = load_datasets(small_world, splits, layout=layout)
    assert parsed and set(parsed.values()) == {1}
    parsed.clear()
    second = load_datasets(small_world, splits, layout=layout)
    assert not parsed
    for one, two in zip(first, second, strict=True):
        assert_same(one, two)


def test_cocos_files_too(coco_folder: Path, parsed: Counter[str]) -> None:
    first = load_datasets(coco_folder, SPLITS)
    assert set(parsed.values()) == {1}
    parsed.clear()
    for one, two in zip(first, load_datasets(coco_folder, SPLITS, needs_boxes=True), strict=True):
        assert fingerprint(one) == fingerprint(two) and two.needs_boxes
    assert not parsed


DOWNSTREAM: dict[str, Callable[[Path], Dataset]] = {
    "vqa": lambda root: load_vqa(root, "train+val", missing_images="error"),
    "minival": lambda root: load_vqa(root, "minival", missing_images="error"),
    "test": lambda root: load_vqa(root, "test", missing_images="error"),
    "nlvr2": lambda root: load_nlvr2(root, "dev", missing_images="error"),
    "snli_ve": lambda root: load_snli_ve(root, "dev", missing_images="error"),
}


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("task", DOWNSTREAM)
def test_questions_and_statements_too(
    small_world: Path, tmp_path: Path, parsed: Counter[str], task: str, is_packed: bool
) -> None:
    root = small_world
    if is_packed:
        root = tmp_path / "packed"
        pack(small_world, root)
    first = DOWNSTREAM[task](root)
    assert parsed
    parsed.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlp_fast.data.sources.image_files.read_size", None)  # never called
        second = DOWNSTREAM[task](root)
    assert not parsed and first.samples
    assert_same(first, second)
    assert first.samples == second.samples
    assert first.keys() == second.keys() and first.units() == second.units()


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("v2_mscoco_val2014_annotations.json", '"yes"', '"yep"'),
        ("snli_ve_dev.jsonl", '"sentence2": "', '"sentence2": "no '),
    ],
)
def test_another_answer_is_read_anew(copied_world: Path, name: str, old: str, new: str) -> None:
    path = copied_world / name
    task = DOWNSTREAM["snli_ve"]
    if "v2" in name:
        task = lambda root: load_vqa(root, "val", missing_images="error")
    before = task(copied_world)
    state = path.stat()
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert task(copied_world).samples != before.samples
    assert path.stat().st_mtime_ns != state.st_mtime_ns


def test_a_copy_of_statements_with_another_time_serves(
    copied_world: Path, parsed: Counter[str]
) -> None:
    before = DOWNSTREAM["snli_ve"](copied_world)
    parsed.clear()
    os.utime(copied_world / "snli_ve_dev.jsonl", (1, 1))
    assert DOWNSTREAM["snli_ve"](copied_world).samples == before.samples and not parsed


def test_samples_come_back_as_they_were() -> None:
    samples: list[Sample] = [
        Question(key=7, images=(0,), text="é\ud800", scores=(("a", 0.1), ("b", 1 / 3))),
        Question(key="7", images=(1,), text="", answers=("yes",) * 10, majority="yes"),
        Statement(key="a-0-1", images=(1, 2), text="x", label=None, group="a-0"),
        Statement(key="a-0-2", images=(1, 2), text="x", label=True, group="a-0"),
        Hypothesis(key="q", images=(3,), text="t", label="neutral", premise="p"),
    ]
    assert list(samples_of(rows_of(samples))) == samples
    assert samples_of(rows_of([])) == ()


def test_packed_pictures_are_found_again(
    coco_folder: Path, tmp_path: Path, parsed: Counter[str]
) -> None:
    pack(coco_folder, tmp_path / "packed")
    first = load_dataset(tmp_path / "packed", "train")
    parsed.clear()
    assert_same(first, load_dataset(tmp_path / "packed", "train"))
    assert not parsed
    (tmp_path / "packed" / "shard-000000.tar").unlink()
    with pytest.raises(InputError, match="shards are not there"):
        load_dataset(tmp_path / "packed", "train")


def edited(path: Path) -> None:
    path.write_text(path.read_text().replace("caption 0", "caption 9"))


def newer(root: Path) -> None:
    old = root / "annotations/captions_train2017.json"
    (root / "train2018").symlink_to(root / "train2017")
    (root / "annotations/captions_train2018.json").write_text(old.read_text())
    edited(root / "annotations/captions_train2018.json")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a caption": lambda root: edited(root / "annotations/captions_train2017.json"),
    "no boxes": lambda root: (root / "annotations/instances_train2017.json").unlink(),
    "a newer file": newer,
    "another layout": lambda root: (root / "dataset_coco.json").write_text(
        json.dumps(
            {
                "images": [
                    {
                        "split": "train",
                        "sentences": [{"raw": "x"}],
                        "imgid": 1,
                        "filename": "000000000001.png",
                    }
                ]
            }
        )
    ),
    "a picture less": lambda root: (root / "train2017/000000000003.png").unlink(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_changes_is_read_anew(coco_folder: Path, what: str, tmp_path: Path) -> None:
    load = lambda: load_dataset(coco_folder, "train", missing_images="drop")
    before = load()
    CHANGES[what](coco_folder)
    after = load()
    assert fingerprint(after) != fingerprint(before)
    dataset_cache.entry_path(coco_folder)  # and as if nothing had been kept:
    os.environ["XDG_CACHE_HOME"] = str(tmp_path / "another")
    assert_same(after, load())


def test_what_changes_while_it_is_read_is_read_anew(
    coco_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is of the time before, whatever the file is when all of it was read."""
    path = coco_folder / "annotations/captions_train2017.json"
    saw = json_files.saw_file

    def changes(seen: Path, content: bytes) -> None:
        if seen == path:
            edited(path)
            path.write_text(path.read_text() + " ")
        saw(seen, content)

    with monkeypatch.context() as patch:
        patch.setattr(json_files, "saw_file", changes)
        before = load_dataset(coco_folder, "train")
    assert not any("caption 9" in text for text in before.captions())
    assert any("caption 9" in text for text in load_dataset(coco_folder, "train").captions())


def test_settings_that_there_are_not_are_refused(coco_folder: Path) -> None:
    with pytest.raises(TypeError, match=r"received \{'layouts'\}, expected of layout, karp"):
        load_dataset(coco_folder, "train", layouts="coco")  # type: ignore[call-arg]


def test_a_copy_with_another_time_serves(coco_folder: Path, parsed: Counter[str]) -> None:
    first = load_dataset(coco_folder, "train")
    parsed.clear()
    for path in (coco_folder / "annotations").iterdir():
        os.utime(path, (1, 1))
    assert_same(first, load_dataset(coco_folder, "train"))
    assert not parsed


@pytest.mark.parametrize("harm", ["cut", "flipped", "other code", "empty", "folder"])
def test_a_damaged_entry_is_passed_over(
    coco_folder: Path, cache: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_dataset(coco_folder, "train")
    (entry,) = cache.iterdir()
    content = bytearray(entry.read_bytes())
    if harm == "cut":
        entry.write_bytes(content[:-5])
    elif harm == "flipped":
        content[-5] ^= 1
        entry.write_bytes(content)
    elif harm == "empty":
        entry.write_bytes(b"")
    elif harm == "folder":
        entry.unlink()
        entry.mkdir()
    else:
        monkeypatch.setattr(dataset_cache, "_code", lambda: "other")
    assert_same(first, load_dataset(coco_folder, "train"))
    if harm != "folder":
        assert dataset_cache.kept(entry, coco_folder) is not None


def test_without_room_nothing_is_kept_and_nothing_said(
    coco_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset_cache, "write_arrays", full)
    assert len(load_dataset(coco_folder, "train").records) == 5
    assert not list(cache.iterdir())


def test_small_data_sets_leave_nothing(
    coco_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_cache, "SMALLEST", 2**24)
    load_dataset(coco_folder, "train")
    assert not cache.exists()


def test_a_table_shows_the_records(small_world: Path) -> None:
    dataset = load_dataset(small_world, "train", layout="karpathy")
    records = list(dataset.records)
    table = RecordTable.of(records)
    order = np.random.default_rng(0).permutation(len(records))[:20].tolist()
    for shown in (table.selected(order), table.selected(order).solid()):
        for place, record in zip(order, shown, strict=True):
            assert (record.image_id, record.captions) == (
                records[place].image_id,
                records[place].captions,
            )
            assert np.array_equal(record.boxes, records[place].boxes)
            assert np.array_equal(record.labels, records[place].labels)
    assert list(table.captions()) == [text for record in records for text in record.captions]
    with pytest.raises(IndexError):
        table[len(records)]


def test_a_mixture_of_parts_is_one_of_records(small_world: Path) -> None:
    world = load_dataset(small_world, "train", layout="karpathy")
    part = world.selected([3, 1, 7])
    mixture = mix([part, world])
    expected = [*part.records, *world.records]
    for found, record in zip(mixture.records, expected, strict=True):
        assert found.captions == record.captions
        assert np.array_equal(found.boxes, record.boxes)


def test_what_was_left_out_is_kept(copied_world: Path, parsed: Counter[str]) -> None:
    path = copied_world / "annotations/instances_world.json"
    document = json.loads(path.read_text())
    for entry in document["annotations"][:2]:
        entry["bbox"] = [1, 1, 0, 1]
    path.write_text(json.dumps(document))
    first = load_dataset(copied_world, "train", layout="karpathy")
    (what,) = first.left_out
    assert (what.reason, what.count, len(what.examples)) == ("boxes without extent dropped", 2, 2)
    before = sum(parsed.values())
    assert load_dataset(copied_world, "train", layout="karpathy").left_out == first.left_out
    assert sum(parsed.values()) == before
