"""SNLI-VE of the world: classes that follow from the picture, and never from the text."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
import scene_judge
from bag_of_words import majority_accuracy, text_only_accuracy

from vlp_fast.data.world import annotations, is_true
from vlp_fast.data.world.entailment import CLASSES, HIDDEN
from vlp_fast.data.world.scene import scene_from_dict

SPLITS = {"train": ("train", 360), "dev": ("val", 20), "test": ("test", 20)}
FIELDS = {
    *("annotator_labels", "captionID", "gold_label", "pairID", "sentence1", "sentence2"),
    "Flickr30K_ID",
}


def lines_of(world: Any, split: str) -> list[dict[str, Any]]:
    return list(world.lines(f"snli_ve_{split}.jsonl"))


def texts_of(world: Any, split: str) -> list[tuple[str, str]]:
    return [(entry["sentence2"], entry["gold_label"]) for entry in lines_of(world, split)]


@pytest.mark.parametrize("split", SPLITS)
def test_classes_follow_from_the_scene(asked_world: Any, split: str) -> None:
    for entry in lines_of(asked_world, split):
        scene = asked_world.scenes[int(entry["Flickr30K_ID"])]
        assert entry["gold_label"] == scene_judge.hypothesis(scene, entry["sentence2"])


@pytest.mark.parametrize("split", SPLITS)
def test_each_hypothesis_is_of_all_classes_equally_often(asked_world: Any, split: str) -> None:
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for text, label in texts_of(asked_world, split):
        counted[text][label] += 1
    pictures = SPLITS[split][1]
    assert sum(map(Counter.total, counted.values())) == pytest.approx(9 * pictures, rel=0.1)
    assert all(set(c) == set(CLASSES) and len(set(c.values())) == 1 for c in counted.values())


def test_the_text_alone_tells_nothing(asked_world: Any) -> None:
    train = texts_of(asked_world, "train")
    for split in ("dev", "test"):
        held_out = texts_of(asked_world, split)
        assert majority_accuracy(train, held_out) == pytest.approx(1 / 3)
        assert text_only_accuracy(train, held_out) == pytest.approx(1 / 3)


def test_every_form_and_hidden_property_occurs(asked_world: Any) -> None:
    said = [text for text, _ in texts_of(asked_world, "train")]
    for word, superlative in HIDDEN.items():
        assert any(f" {superlative} " in text for text in said)
        assert any(f" {word} " in text and text.startswith("There is a") for text in said)
    assert 0.3 < sum(text.startswith("The ") for text in said) / len(said) < 0.7
    assert any(" is not a " in text for text in said) and any(" is a " in text for text in said)
    assert any(" is not small" in text or " is small" in text for text in said)


@pytest.mark.parametrize("split", SPLITS)
def test_premises_are_captions_of_the_picture(asked_world: Any, split: str) -> None:
    karpathy = asked_world.json("dataset_coco.json")["images"]
    captions = {
        entry["cocoid"]: [sentence["raw"] for sentence in entry["sentences"]] for entry in karpathy
    }
    for entry in lines_of(asked_world, split):
        image_id = int(entry["Flickr30K_ID"])
        assert annotations.split_of(image_id - 1) == SPLITS[split][0]
        assert (asked_world.root / "images" / f"{entry['Flickr30K_ID']}.png").is_file()
        name, number = entry["captionID"].split("#")
        assert name == f"{entry['Flickr30K_ID']}.jpg"
        assert captions[image_id][int(number)] == entry["sentence1"]
        assert is_true(scene_from_dict(asked_world.scenes[image_id]), entry["sentence1"])


@pytest.mark.parametrize("split", SPLITS)
def test_pairs_have_ids_of_the_official_form(asked_world: Any, split: str) -> None:
    entries = lines_of(asked_world, split)
    for entry in entries:
        start, _, end = entry["pairID"].rpartition("r")
        assert start == entry["captionID"] and end[:-1].isdecimal()
        assert end[-1] == entry["gold_label"][0]
        assert entry["annotator_labels"] == [entry["gold_label"]]
    assert len({entry["pairID"] for entry in entries}) == len(entries)


def test_fields_are_the_official_ones_but_parses(shared_data: Path, asked_world: Any) -> None:
    """The sample has the older spelling of the id; nobody parsed the sentences of the world."""
    lines = (shared_data / "samples" / "snli_ve" / "sample_data.jsonl").read_text().splitlines()
    real = {key for key in json.loads(lines[0]) if not key.endswith("parse")}
    assert real - {"Flikr30kID"} | {"Flickr30K_ID"} == FIELDS
    for split in SPLITS:
        assert all(set(entry) == FIELDS for entry in lines_of(asked_world, split))
