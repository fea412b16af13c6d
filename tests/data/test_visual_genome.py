import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.data.sources import json_files, load_dataset
from vlp_fast.data.sources.visual_genome import read_names
from vlp_fast.errors import InputError


@pytest.fixture
def genome_folder(
    tmp_path: Path, write_json: Callable[[Path, Any], Path], write_image: Callable[..., Path]
) -> Path:
    """Two training images in the two official folders."""
    root = tmp_path / "vg"
    host = "https://example.org/VG_100K"
    write_json(
        root / "image_data.json",
        [
            {"image_id": 1, "url": f"{host}_2/1.jpg", "width": 20, "height": 10},
            {"image_id": 2, "url": f"{host}/2.jpg", "width": 20, "height": 10},
        ],
    )
    box = {"x": 2, "y": 1, "w": 4, "h": 5}
    write_json(
        root / "objects.json",
        [
            {
                "image_id": 1,
                "objects": [
                    {**box, "object_id": 11, "names": ["Bike"], "merged_object_ids": []},
                    {**box, "object_id": 12, "names": ["thing", "clock"]},
                    {**box, "object_id": 13, "names": ["thing"]},
                    {**box, "object_id": 14, "names": ["clock"], "merged_object_ids": [140, 141]},
                ],
            },
            {"image_id": 2, "objects": [{**box, "x": -1, "w": 90, "object_id": 21, "names": []}]},
        ],
    )
    write_json(
        root / "attributes.json",
        [
            {
                "image_id": 1,
                "attributes": [
                    {"object_id": 11, "attributes": ["fast", " Grey", "tall"]},
                    {"object_id": 12},
                    {"object_id": 141, "attributes": ["tall"]},
                ],
            }
        ],
    )
    phrases = [["a  clock\n", "a bike", "a clock", " "], ["nothing"]]
    write_json(
        root / "region_descriptions.json",
        [
            {
                "id": i,
                "regions": [
                    {"region_id": k, "image_id": i, "phrase": p} for k, p in enumerate(texts)
                ],
            }
            for i, texts in enumerate(phrases, start=1)
        ],
    )
    (root / "objects_vocab.txt").write_text("clock,clocks\nbicycle,bike\n")
    (root / "attributes_vocab.txt").write_text("tall\ngray,grey\n")
    write_image(root / "VG_100K_2" / "1.jpg")
    write_image(root / "VG_100K" / "2.jpg")
    return root


def test_files_are_joined_by_their_ids(genome_folder: Path) -> None:
    dataset = load_dataset(genome_folder, "train", needs_boxes=True)
    assert dataset.class_names == ("clock", "bicycle")
    assert dataset.attribute_names == ("tall", "gray")
    first, second = dataset.records
    assert first.captions == ("a clock", "a bike")
    assert first.labels.tolist() == [1, 0, 0]
    # The first known attribute; none; that of an object that was merged into this one.
    assert first.attributes.tolist() == [1, -1, 0]
    assert first.boxes.tolist() == [[2, 1, 6, 6]] * 3
    assert (first.path.parent.name, second.path.parent.name) == ("VG_100K_2", "VG_100K")
    assert second.labels.tolist() == []
    assert any(n.startswith("2 boxes of names outside the vocabulary") for n in dataset.notes)
    assert any(n.startswith("1 empty captions") for n in dataset.notes)


def test_attributes_are_optional_and_vocabularies_are_not(genome_folder: Path) -> None:
    (genome_folder / "attributes.json").unlink()
    assert load_dataset(genome_folder, "train").records[0].attributes.tolist() == [-1] * 3
    elsewhere = genome_folder.parent / "classes.txt"
    (genome_folder / "objects_vocab.txt").rename(elsewhere)
    with pytest.raises(InputError, match=r"objects_vocab\.txt.*--data\.objects-vocabulary FILE"):
        load_dataset(genome_folder, "train")
    assert load_dataset(genome_folder, "train", objects_vocabulary=elsewhere).num_boxes == 3


def test_held_out_images_are_few_disjoint_and_stable(
    genome_folder: Path, write_image: Callable[..., Path], write_json: Callable[[Path, Any], Path]
) -> None:
    ids = range(1, 2001)
    write_json(
        genome_folder / "image_data.json",
        [{"image_id": i, "url": f"x/VG_100K/{i}.jpg", "width": 20, "height": 10} for i in ids],
    )
    write_json(
        genome_folder / "region_descriptions.json",
        [{"regions": [{"region_id": i, "image_id": i, "phrase": "text"}]} for i in ids],
    )
    for i in ids:
        (genome_folder / "VG_100K" / f"{i}.jpg").touch()
    parts = {
        split: {r.image_id for r in load_dataset(genome_folder, split).records}
        for split in ("train", "val", "test")
    }
    assert set.union(*parts.values()) == set(ids)
    assert sum(map(len, parts.values())) == 2000
    assert all(20 < len(parts[split]) < 65 for split in ("val", "test"))
    assert min(parts["val"]) == 66


def test_damaged_entries_are_told(genome_folder: Path) -> None:
    for name, key, reason in (
        ("image_data.json", "image_id", "'image_id' is missing"),
        ("image_data.json", "width", "'width' is missing"),
        ("objects.json", "objects", "has no 'objects' list"),
        ("region_descriptions.json", "regions", "has no 'regions' list"),
    ):
        path = genome_folder / name
        clean = path.read_text()
        document = json.loads(clean)
        del document[0][key]
        path.write_text(json.dumps(document))
        with pytest.raises(InputError) as caught:
            load_dataset(genome_folder, "train")
        assert reason in str(caught.value)
        assert name in str(caught.value)
        assert "entry 0 of the list" in str(caught.value)
        path.write_text(clean)


def test_good_files_are_read_in_one_pass(
    genome_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an entry lies is looked up by going through the file, so only for an error."""

    def look_up(*_: object) -> str:
        raise AssertionError("looked for the place of a good entry")

    monkeypatch.setattr(json_files, "_place", look_up)
    assert len(load_dataset(genome_folder, "train", layout="visual_genome", needs_boxes=True))


def test_an_entry_is_told_by_its_number_also_inside_another(genome_folder: Path) -> None:
    """The quoted part of a long entry ends before its id."""
    path = genome_folder / "region_descriptions.json"
    document = json.loads(path.read_text())
    document[1]["regions"][0] = {"phrase": "long " * 50, "region_id": 5}
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"entry 1 of the list, .*'image_id' is missing"):
        load_dataset(genome_folder, "train")


def test_images_outside_the_root_are_not_read(
    genome_folder: Path, write_image: Callable[..., Path]
) -> None:
    write_image(genome_folder.parent / "9.jpg")
    (genome_folder / "VG_100K" / "2.jpg").unlink()
    path = genome_folder / "image_data.json"
    document = json.loads(path.read_text())
    document[1]["url"] = "x/../9.jpg"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"1 of 2 annotated images have no file.* 9\.jpg"):
        load_dataset(genome_folder, "train")


def test_boxes_that_all_fail_name_their_file(genome_folder: Path) -> None:
    (genome_folder / "objects_vocab.txt").write_text("zebra\n")
    with pytest.raises(
        InputError, match=r"none of the 5 annotated is usable; repair.*objects\.json"
    ):
        load_dataset(genome_folder, "train", needs_boxes=True)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["objects_vocab.txt", "attributes_vocab.txt"])
def test_a_list_of_names_is_its_visible_lines(genome_folder: Path, name: str, end: str) -> None:
    """Neither a byte order mark nor blank lines, empty synonyms or odd separators are classes."""
    lines = ["", "clock,clocks", " ", ",", "a\u2028b", ",bike,,cycle,", "c\x85d\x0ce", ""]
    path = genome_folder / name
    path.write_bytes(b"\xef\xbb\xbf" + end.join(lines).encode())
    found = read_names(path)
    assert found.names == ("clock", "a b", "bike", "c d e")
    assert found.index == {"clock": 0, "clocks": 0, "a b": 1, "bike": 2, "cycle": 2, "c d e": 3}
    path.write_bytes(b"\xef\xbb\xbf" + end.join(["clock", "bike"]).encode())
    dataset = load_dataset(genome_folder, "train")
    known = dataset.class_names if name.startswith("o") else dataset.attribute_names
    assert known == ("clock", "bike")
    path.write_bytes(b"\xef\xbb\xbf , \n\n")
    with pytest.raises(InputError, match="is empty; write a name a line"):
        read_names(path)


def test_merged_ids_may_be_written_as_text(genome_folder: Path) -> None:
    path = genome_folder / "objects.json"
    path.write_text(path.read_text().replace("[140, 141]", '["140", "141"]'))
    dataset = load_dataset(genome_folder, "train", needs_boxes=True)
    assert dataset.records[0].attributes.tolist() == [1, -1, 0]


def test_the_usual_vocabularies(shared_data: Path) -> None:
    objects = read_names(shared_data / "vocab" / "vg_objects_vocab.txt")
    attributes = read_names(shared_data / "vocab" / "vg_attributes_vocab.txt")
    assert (len(objects.names), len(attributes.names)) == (1600, 400)
    assert attributes.index["grey"] == attributes.index["gray"]
    assert attributes.first(["unheard of", "Multi-Colored"]) == attributes.index["multi colored"]


def test_the_official_files_of_the_sample(
    tmp_path: Path, shared_data: Path, write_image: Callable[..., Path]
) -> None:
    """Pictures are stand-ins; annotations are the first hundred entries of the real files."""
    for path in (shared_data / "samples" / "visual_genome").iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    for name in ("objects_vocab.txt", "attributes_vocab.txt"):
        shutil.copyfile(shared_data / "vocab" / f"vg_{name}", tmp_path / name)
    for image in json.loads((tmp_path / "image_data.json").read_text()):
        write_image(tmp_path / Path(*image["url"].split("/")[-2:]))
    dataset = load_dataset(tmp_path, "train", needs_boxes=True)
    assert len(dataset) == 98
    clock = next(
        (box, attribute)
        for box, label, attribute in zip(
            dataset.records[0].boxes,
            dataset.records[0].labels,
            dataset.records[0].attributes,
            strict=True,
        )
        if dataset.class_names[label] == "clock"
    )
    assert clock[0].tolist() == [422, 63, 422 + 77, 63 + 363]
    assert dataset.attribute_names[clock[1]] == "green"
    assert dataset.records[0].captions[0] == "the clock is green in colour"
    with_attribute = sum(int((r.attributes >= 0).sum()) for r in dataset.records)
    assert 900 < with_attribute < dataset.num_boxes
