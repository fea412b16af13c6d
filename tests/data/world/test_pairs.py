"""NLVR2 of the world: claims that are true of two of four pairs, in the official files."""

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
import scene_judge
from bag_of_words import majority_accuracy, text_only_accuracy
from PIL import Image

from vlp_fast.data.world import annotations, make_world, nlvr2_files

SPLITS = {"train": 180, "dev": 10, "test1": 10}
"""With their sets of pairs."""
FIELDS = {
    *("identifier", "sentence", "label", "left_url", "right_url", "synset", "query", "writer"),
    "validation",
}
NEED_BOTH = re.compile(r"Exactly one|Both images show the same number|The background|The two")
SIDED = re.compile(r"The (left|right) image")


def claims_of(world: Any, split: str) -> list[dict[str, Any]]:
    return list(world.lines(f"nlvr2/{split}.json"))


def scenes_of(world: Any, entry: dict[str, Any]) -> tuple[Any, Any]:
    left, right = (world.scenes[int(Path(entry[f"{side}_url"]).stem)] for side in ("left", "right"))
    return left, right


def texts_of(world: Any, split: str) -> list[tuple[str, str]]:
    return [(entry["sentence"], entry["label"]) for entry in claims_of(world, split)]


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_true_of_the_scenes(asked_world: Any, split: str) -> None:
    for entry in claims_of(asked_world, split):
        is_so = scene_judge.claim(*scenes_of(asked_world, entry), entry["sentence"])
        assert entry["label"] == str(is_so)


@pytest.mark.parametrize("split", SPLITS)
def test_a_claim_is_true_of_two_of_four_pairs(asked_world: Any, split: str) -> None:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for entry in claims_of(asked_world, split):
        _, place, _, number = entry["identifier"].split("-")
        groups[place, number].append(entry)
    assert len(groups) > 4 * SPLITS[split]
    for entries in groups.values():
        assert len({entry["sentence"] for entry in entries}) == 1
        assert Counter(entry["label"] for entry in entries) == {"True": 2, "False": 2}


@pytest.mark.parametrize("side", ["left_url", "right_url"])
def test_what_is_said_of_both_is_not_settled_by_one(asked_world: Any, side: str) -> None:
    labels: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for entry in claims_of(asked_world, "train"):
        if NEED_BOTH.match(entry["sentence"]):
            place = entry["identifier"].split("-")[1]
            labels[place, entry["sentence"], entry[side]].append(entry["label"])
    assert len(labels) > 300
    assert all(sorted(both) == ["False", "True"] for both in labels.values())


def test_left_and_right_matter(asked_world: Any) -> None:
    changed = []
    for entry in claims_of(asked_world, "train"):
        left, right = scenes_of(asked_world, entry)
        placed = any(name in entry["sentence"] for name in scene_judge.PLACES)
        if SIDED.match(entry["sentence"]) and not placed:  # else the other side may not be plain
            is_so = scene_judge.claim(right, left, entry["sentence"])
            changed.append(str(is_so) != entry["label"])
    assert len(changed) > 800
    assert sum(changed) > 0.4 * len(changed)


def test_the_text_alone_tells_nothing(asked_world: Any) -> None:
    train = texts_of(asked_world, "train")
    for split in ("dev", "test1"):
        held_out = texts_of(asked_world, split)
        assert Counter(label for _, label in held_out)["True"] == len(held_out) / 2
        assert majority_accuracy(train, held_out) <= 0.5
        assert text_only_accuracy(train[:2000], held_out) <= 0.5


def test_every_form_of_claim_is_made(asked_world: Any) -> None:
    said = [entry["sentence"] for entry in claims_of(asked_world, "train")]
    for start in (
        *("The left image shows a", "The right image shows a", "Exactly one image shows"),
        *("Both images show a", "At least one image shows", "Both images show the same number"),
        *("The left image shows more", "The right image shows more", "The background is the same"),
        *("The two images have", "The left image shows exactly", "Both images show exactly"),
    ):
        assert sum(sentence.startswith(start) for sentence in said) >= 4, start
    for name in ("left of", "right of", "above", "below"):
        assert sum(f" {name} a " in sentence for sentence in said) > 40


@pytest.mark.parametrize("split", SPLITS)
def test_pictures_are_those_of_the_urls(asked_world: Any, split: str) -> None:
    identifiers, folder = [], asked_world.root / "nlvr2"
    for entry in claims_of(asked_world, split):
        identifiers.append(entry["identifier"])
        place = f"images/train/{entry['directory']}" if split == "train" else split
        name = entry["identifier"].rpartition("-")[0]
        for i, side in enumerate(("left", "right")):
            picture = folder / place / f"{name}-img{i}.png"
            assert picture.samefile(asked_world.root / entry[f"{side}_url"])
    assert len(set(identifiers)) == len(identifiers)
    files = [path for path in folder.rglob("*.png") if path.name.startswith(f"{split}-")]
    assert len(files) == 8 * SPLITS[split]


def test_splits_show_their_own_pictures(asked_world: Any) -> None:
    for split, name in (("train", "train"), ("val", "dev"), ("test", "test1")):
        for entry in claims_of(asked_world, name):
            for side in ("left_url", "right_url"):
                assert annotations.split_of(int(Path(entry[side]).stem) - 1) == split


def test_fields_are_the_official_ones(shared_data: Path, asked_world: Any) -> None:
    first = (shared_data / "samples" / "nlvr2" / "dev.json").read_text().splitlines()[0]
    real = json.loads(first)
    assert set(real) == FIELDS | {"extra_validations"}
    for split in ("dev", "test1"):
        for entry in claims_of(asked_world, split):
            assert {k: type(v) for k, v in entry.items()} == {k: type(v) for k, v in real.items()}


def test_fields_of_training_name_the_directory(asked_world: Any) -> None:
    entries = claims_of(asked_world, "train")
    assert all(set(entry) == FIELDS | {"directory"} for entry in entries)
    assert len({entry["directory"] for entry in entries}) == 100


def test_where_there_are_no_further_names_pictures_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("Operation not permitted")

    make_world(tmp_path / "linked", images=28, seed=0)
    monkeypatch.setattr(nlvr2_files.os, "link", refuse)
    make_world(tmp_path / "copied", images=28, seed=0)
    for linked in (tmp_path / "linked" / "nlvr2").rglob("*.png"):
        copied = tmp_path / "copied" / linked.relative_to(tmp_path / "linked")
        assert copied.stat().st_nlink == 1 < linked.stat().st_nlink
        with Image.open(copied) as a, Image.open(linked) as b:
            assert a.tobytes() == b.tobytes()


def test_a_smaller_world_has_the_same_first_pairs(tmp_path: Path) -> None:
    for images in (28, 48):
        make_world(tmp_path / str(images), images=images, seed=0)
    few, many = (
        (tmp_path / str(images) / "nlvr2" / "train.json").read_text() for images in (28, 48)
    )
    assert few and many.startswith(few)
