"""Pictures of COCO under other names: held out there, they are not trained on, nor the reverse."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.data.config import DataConfig
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources.coco_ids import held_out_ids, read_ids
from vlp_fast.data.split_pair import SplitPair, read_pairs
from vlp_fast.errors import InputError

TRAIN = (1, 2, 3, 4, 5, 6)
HELD_OUT = (66, 265, 274, 291)
"""Image ids that are in Visual Genome's val."""
Write = Callable[[Path, Any], Path]


@pytest.fixture
def genome(tmp_path: Path, write_json: Write, write_image: Callable[..., Path]) -> Any:
    """genome(coco ids by image id) is a folder of Visual Genome's."""

    def make(coco_ids: Mapping[int, object]) -> Path:
        root = tmp_path / "vg"
        ids = list(coco_ids)
        images = [
            {"image_id": i, "coco_id": coco, "url": f"x/VG_100K/{i}.jpg", "width": 20, "height": 10}
            for i, coco in coco_ids.items()
        ]
        things = [{"object_id": 1, "names": ["train"], "x": 2, "y": 1, "w": 4, "h": 5}]
        boxes = [{"image_id": i, "objects": [{**t, "object_id": i} for t in things]} for i in ids]
        phrases = [
            {"regions": [{"region_id": i, "image_id": i, "phrase": f"text {i}"}]} for i in ids
        ]
        write_json(root / "image_data.json", images)
        write_json(root / "objects.json", boxes)
        write_json(root / "region_descriptions.json", phrases)
        (root / "objects_vocab.txt").write_text("clock\nTrain\n")
        (root / "attributes_vocab.txt").write_text("tall\n")
        for number, i in enumerate(ids):
            write_image(root / "VG_100K" / f"{i}.jpg", colour=(7 * number, i % 251, 90))
        return root

    return make


@pytest.fixture
def coco(coco_folder: Path, write_image: Callable[..., Path], write_json: Write) -> Path:
    """COCO's five images of train are 1 to 5; those of val get the ids 201 to 203."""
    for kind in ("captions", "instances"):
        path = coco_folder / f"annotations/{kind}_val2017.json"
        text = path.read_text()
        for i in (1, 2, 3):
            text = text.replace(f'"id": {i}, "file', f'"id": {200 + i}, "file')
            text = text.replace(f'"image_id": {i},', f'"image_id": {200 + i},')
            text = text.replace(f"{i:012d}.png", f"{200 + i:012d}.png")
            write_image(coco_folder / f"val2017/{200 + i:012d}.png", colour=(i, 200, 3))
        path.write_text(text)
    return coco_folder


def ids(dataset: Dataset) -> list[int]:
    return [record.image_id for record in dataset.records]


def read(*roots: Path, **settings: Any) -> list[SplitPair]:
    return read_pairs(DataConfig(root=roots, **settings), needs_boxes=False)


def told(dataset: Dataset) -> list[str]:
    return [note for note in dataset.notes if "dropped" in note and "in COCO" in note]


STATED = dict.fromkeys(TRAIN) | {2: 201, 3: 203.0, 4: 4, 5: 999} | dict.fromkeys(HELD_OUT, 5)
STATED |= {66: None, 265: 202}


@pytest.mark.parametrize("is_first", [True, False])
def test_what_coco_holds_out_is_not_trained_on(genome: Any, coco: Path, is_first: bool) -> None:
    roots = (genome(STATED), coco) if is_first else (coco, genome(STATED))
    pairs = {pair.layout: pair for pair in read(*roots)}
    found = pairs["visual_genome"]
    assert ids(found.train) == [1, 4, 5, 6]
    # Held out: 66 is not COCO's, 265 is held out there too, the others are trained on there.
    assert ids(found.held_out) == [66, 265]
    assert told(found.train) == [
        "2 of 6 images are ones that COCO holds out, by their ids in COCO, and dropped (the first: "
        "2.jpg)"
    ]
    assert [note.split(",")[0] for note in told(found.held_out)] == [
        "2 of 4 images are ones that COCO trains on"
    ]
    assert ids(pairs["coco"].train) == [1, 2, 3, 4, 5]
    assert len(pairs["coco"].held_out) == 3


def test_a_root_alone_stays_as_it_is(genome: Any) -> None:
    (pair,) = read(genome(STATED))
    assert (ids(pair.train), ids(pair.held_out)) == ([*TRAIN], [*HELD_OUT])
    assert not told(pair.train)


def test_a_split_that_is_trained_on_is_not_held_out(genome: Any, coco: Path) -> None:
    pairs = read(genome(STATED), coco, train_split="val", held_out_split="train")
    assert ids(pairs[0].train) == [*HELD_OUT]
    assert ids(pairs[0].held_out) == [1, 4, 5, 6]  # COCO trains on 201 and 203 now


def test_the_same_split_twice_stays_the_same(genome: Any, coco: Path) -> None:
    pair = read(genome(STATED), coco, held_out_split="train")[0]
    assert ids(pair.train) == ids(pair.held_out) == [1, 4, 5, 6]


def test_karpathys_file_says_what_is_held_out(
    genome: Any, coco: Path, write_json: Write, tmp_path: Path
) -> None:
    root = tmp_path / "karpathy"
    entries = [
        {"cocoid": i, "split": split, "filename": f"{i:012d}.png", "sentences": [{"raw": f"t {i}"}]}
        for i, split in ((1, "train"), (2, "restval"), (3, "val"), (4, "test"))
    ]
    path = write_json(root / "dataset_coco.json", {"images": entries})
    (root / "images").symlink_to(coco / "train2017")
    stated = {i: i for i in TRAIN} | {66: 3, 265: 2}
    pair = read(root, genome(stated))[1]
    assert (ids(pair.train), ids(pair.held_out)) == ([1, 2, 5, 6], [66])
    assert ids(read(root, genome(stated), karpathy_file=path)[1].train) == [1, 2, 5, 6]
    assert held_out_ids(root, "karpathy", ("val",)) == {3}
    with pytest.raises(InputError, match=r"dataset\.json: --data\.karpathy-file lies in none of"):
        read(root, coco, karpathy_file=tmp_path / "dataset.json")


def test_info_files_hold_ids_of_test(coco: Path, write_json: Write) -> None:
    write_json(coco / "annotations/image_info_test2017.json", {"images": [{"id": 900}]})
    assert held_out_ids(coco, "coco", ("val", "test")) == {201, 202, 203, 900}
    assert held_out_ids(coco, "coco", ("val",)) == {201, 202, 203}
    assert held_out_ids(coco, "visual_genome", ("val",)) == frozenset()


@pytest.mark.parametrize("kind", ["lines", "captions", "karpathy"])
def test_ids_can_be_excluded(genome: Any, tmp_path: Path, write_json: Write, kind: str) -> None:
    path = tmp_path / "ids"
    entries: Collection[dict[str, object]] = [{"id": 201}, {"id": 203}]
    if kind == "karpathy":
        splits = ((201, "val"), (203, "test"), (4, "restval"))
        entries = [{"cocoid": i, "split": s, "sentences": []} for i, s in splits]
    if kind == "lines":
        path.write_bytes(b"\xef\xbb\xbf201\r\n\n  203\n")
    else:
        write_json(path, {"images": entries})
    (pair,) = read(genome(STATED), exclude=path)
    assert ids(pair.train) == [1, 4, 5, 6]
    assert ids(pair.held_out) == [*HELD_OUT]
    assert "2 of 6 images are ones that --data.exclude lists" in pair.train.notes[-1]


def test_excluded_ids_are_of_coco_too_and_may_be_of_none(coco: Path, tmp_path: Path) -> None:
    """COCO's train of 2017 holds pictures of Karpathy's val and test."""
    path = tmp_path / "ids.txt"
    path.write_text("2\n")
    assert ids(read(coco, exclude=path)[0].train) == [1, 3, 4, 5]
    path.write_text("77\n78")
    pair = read(coco, exclude=path)[0]
    assert "lists 2 ids and none of these images" in pair.train.notes[-1]
    path.write_text("\n".join(map(str, range(1, 6))))
    with pytest.raises(InputError, match=r"COCO train2017: no image is left \(5 of 5 images are"):
        read(coco, exclude=path)


def test_a_world_has_no_ids_of_coco(small_world: Path, tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("2\n")
    with pytest.raises(InputError, match=r"--data\.exclude .*ids\.txt: no image of .* says which"):
        read(small_world, exclude=path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no id"),
        (b"12\nx\n", 'line 2: is "x"'),
        (b"-4", 'line 1: is "-4"'),
        (b"\xff\xfe", "not UTF-8"),
        (b"{", "truncated"),
        (b'{"a": 1}', "has no 'images' list"),
        (b'{"images": [{"id": "x"}]}', "'id' is"),
        (b'{"images": []}', "holds no id"),
        (b"[1, 2]", 'line 1: is "[1, 2]"'),
        (None, "No such file"),
    ],
)
def test_damaged_lists_are_one_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "ids"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_ids(path)
    assert words in str(refused.value) and str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_boxes_are_needed_of_each(genome: Any, coco: Path) -> None:
    for path in (coco / "annotations").glob("instances_*"):
        path.unlink()
    data = DataConfig(root=(genome(STATED), coco))
    with pytest.raises(InputError, match=r"coco: COCO train2017 has no boxes, and detection needs"):
        read_pairs(data, needs_boxes=True)
    assert len(read_pairs(replace(data), needs_boxes=False)) == 2
